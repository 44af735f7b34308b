"""Tells which names of a cluster are not UTF-8, since people have to spell them in another way."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from three_backup.errors import BackupError, readable
from three_backup.model.findings import Finding, note
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.relations import OBJECT_KINDS, USER_SCHEMA, Database

_NOT_UTF8 = f"""
SELECT n.nspname::text, c.relname::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN {OBJECT_KINDS} AND {USER_SCHEMA}
   AND current_setting('server_encoding') <> 'UTF8'
"""  # noqa: S608


def odd_names(found: Sequence[Database]) -> Iterator[Finding]:
    """Yield one finding on all such names of databases, tables and views, if there are any."""
    said = [f"database {one.name}" for one in found if _is_odd(one.name)]
    counts = [(_count(one), one.name) for one in found if one.refusal is None]
    said += [f"in database {name} tables or views: {count}" for count, name in counts if count]
    if said:
        yield note(
            "names",
            readable(f"not UTF-8, and written with %E9 for a byte E9: {', '.join(said)}"),
            "write them as tb-discover prints them, in patterns and in the configuration",
        )


def _count(database: Database) -> int:
    with suppress(BackupError), connect(database.name) as connection:
        return sum(any(map(_is_odd, names)) for names in connection.execute(_NOT_UTF8))
    return 0


def _is_odd(name: str) -> bool:
    return readable(name) != name
