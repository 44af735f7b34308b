"""List the tables and views of a cluster, database by database and page by page.

Every page is a statement of its own: the caller may take hours over the records, and an open
transaction would hinder VACUUM all that time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import can_match_below, escape, selected
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.preflight import Cluster, read_cluster
from three_backup.sources.postgres.relations import TYPE, Database, databases, kind, object_id

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_PAGE = 1000
_LOCK_TIMEOUT = "SET lock_timeout = '200ms'"
# The size function waits for an exclusive lock on a table: then its pages are counted instead.
_RELATIONS = """
WITH page AS (
    SELECT n.nspname, c.*
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND (n.nspname, c.relname) > (%(schema)s::name, %(name)s::name)
     ORDER BY n.nspname, c.relname
     LIMIT %(limit)s
), locked AS (
    SELECT coalesce(i.indrelid, l.relation) AS oid
      FROM pg_locks l LEFT JOIN pg_index i ON i.indexrelid = l.relation
     WHERE l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), measured AS MATERIALIZED (
    SELECT page.*, CASE WHEN NOT %(estimate)s AND oid NOT IN (SELECT oid FROM locked)
                        THEN pg_total_relation_size(oid) END AS size
      FROM page
)
SELECT nspname::text, relname::text, relkind::text, relpersistence::text, size,
       CASE WHEN size IS NULL THEN (
           SELECT coalesce(sum(greatest(r.relpages, 0)), 0)::int8
             FROM pg_class r
            WHERE r.oid = ANY (ARRAY(SELECT m.oid
                                      UNION ALL SELECT m.reltoastrelid
                                      UNION ALL SELECT indexrelid FROM pg_index
                                                 WHERE indrelid IN (m.oid, m.reltoastrelid)))
       ) END
  FROM measured m
 ORDER BY nspname, relname
"""


def discover(patterns: Sequence[str]) -> Iterator[Found | Unreadable]:
    """Yield tables and views that a pattern selects, Unreadable for a database that refuses us."""
    with connect() as connection:
        cluster = read_cluster(connection)
        found = databases(connection)
    for database in found:
        if not database.closed and _reachable(patterns, database):
            yield from _database(patterns, cluster, database)


def _reachable(patterns: Sequence[str], database: Database) -> bool:
    prefixes = [f"{TYPE}/{subtype}/{escape(database.name)}" for subtype in ("table", "view")]
    return not patterns or any(
        can_match_below(pattern, prefix) for pattern in patterns for prefix in prefixes
    )


def _database(
    patterns: Sequence[str], cluster: Cluster, database: Database
) -> Iterator[Found | Unreadable]:
    try:
        if database.refusal is not None:
            raise database.refusal
        with connect(database.name) as connection:
            connection.execute(_LOCK_TIMEOUT)
            for found in _relations(connection, cluster, database):
                if selected(patterns, str(found.id)):
                    yield found
    except UnreachableError:
        raise
    except BackupError as error:
        yield Unreadable(f"{TYPE}/table/{escape(database.name)}", error, cluster.carrier)


def _relations(connection: "Connection", cluster: Cluster, database: Database) -> Iterator[Found]:
    after = {"schema": "", "name": ""}
    while rows := _page(connection, after):
        for schema, name, relkind, persistence, size, pages in rows:
            facts: dict[str, Any] = {"kind": kind(relkind, persistence), **cluster.facts}
            if size is None:
                facts["size_estimated"] = True
                size = pages * cluster.block_size
            relation_id = object_id(database.name, relkind, schema, name)
            yield Found(relation_id, size, cluster.carrier, facts)
        after = {"schema": schema, "name": name}


def _page(connection: "Connection", after: Mapping[str, str]) -> list[tuple[Any, ...]]:
    from psycopg.errors import LockNotAvailable

    wanted = {**after, "limit": _PAGE, "estimate": False}
    try:
        return connection.execute(_RELATIONS, wanted).fetchall()
    except LockNotAvailable:
        return connection.execute(_RELATIONS, {**wanted, "estimate": True}).fetchall()
