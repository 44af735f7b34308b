"""Makes schemas that the target lacks as they were: with owner, grants and comment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.ownership import Giving
from three_backup.sources.postgres.restoring.target import schemas
from three_backup.sources.postgres.restoring.things import Thing

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_COMMENT = """
SELECT format('COMMENT ON SCHEMA %%I IS %%L', nspname, obj_description(oid, 'pg_namespace'))
  FROM pg_namespace WHERE nspname = %s AND obj_description(oid, 'pg_namespace') <> ''
"""
_SCHEMA = "SELECT 'pg_namespace'::regclass::int8, oid::int8 FROM pg_namespace WHERE nspname = %s"


def create_schema(scratch: "Connection", target: "Connection", name: str) -> None:
    """Create a schema with the comment that it has in the scratch server."""
    target.execute(f"CREATE SCHEMA {quoted(name)}".encode(*AS_BYTES))
    for (comment,) in scratch.execute(_COMMENT, (name,)).fetchall():
        target.execute(comment.encode(*AS_BYTES))


def create_own_schemas(giving: Giving, families: Sequence[Family]) -> None:
    """Create what the families lie in and the target lacks; a schema of another name is ours."""
    parts = [part for family in families for part in family.members]
    things = []
    for name in sorted({part.target.schema for part in parts} - schemas(giving.target)):
        create_schema(giving.scratch, giving.target, name)
        if any(part.source.schema == part.target.schema == name for part in parts):
            (source,) = giving.scratch.execute(_SCHEMA, (name,)).fetchall()
            (there,) = giving.target.execute(_SCHEMA, (name,)).fetchall()
            things.append(Thing(source, there, quoted(name), "SCHEMA", "SCHEMA"))
    giving.own(things)
    giving.grant(things)
