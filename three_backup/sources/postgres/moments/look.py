"""Looks at what a cluster had at a moment: its catalogs alone are revived, no rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import can_match_below, escape, matches
from three_backup.model.snapshots import CarriedObject
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.connection import as_stored
from three_backup.sources.postgres.relations import (
    OBJECT_KINDS,
    TYPE,
    USER_SCHEMA,
    databases,
    kind,
    object_id,
)
from three_backup.sources.postgres.restoring.revive import ANY_DATABASE, Revived, revived

if TYPE_CHECKING:
    from three_backup.sources.postgres.scratch.server import ScratchServer

_OBJECTS = f"""
SELECT c.oid::int8, c.relkind::text, c.relpersistence::text, n.nspname::text, c.relname::text,
       coalesce(pg_relation_filepath(c.oid), '')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN {OBJECT_KINDS} AND {USER_SCHEMA} ORDER BY 4, 5
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Existing:
    """A table or view that existed at a moment."""

    carried: CarriedObject
    database: int
    oid: int
    path: str  # of its file; empty if it has none


@contextmanager
def looked_back(job: RestoreJob) -> Iterator[Revived]:
    """Revive the catalogs of the whole cluster, as they were at the job's landing."""
    chain = OpenedChain(job.chain, job.advance, job.expect)
    with revived(job, chain, (), rows=False) as scratch:
        yield scratch


def objects_then(job: RestoreJob, pattern: str) -> list[CarriedObject]:
    """Return what the pattern selects of the tables and views that existed at the landing."""
    return [found.carried for found in existing_then(job, pattern)]


def existing_then(job: RestoreJob, pattern: str) -> list[Existing]:
    with looked_back(job) as scratch:
        return [
            found
            for found in _existing(scratch.server, pattern)
            if matches(pattern, str(found.carried.id))
        ]


def _existing(server: "ScratchServer", pattern: str) -> Iterator[Existing]:
    """Yield the tables and views of the databases in which some may match."""
    with server.connect(ANY_DATABASE) as connection:
        listed = databases(connection)
    for database in listed:
        prefixes = (f"{TYPE}/{subtype}/{escape(database.name)}" for subtype in ("table", "view"))
        if any(can_match_below(pattern, prefix) for prefix in prefixes):
            with server.connect(database.name) as connection, as_stored(connection):
                rows = connection.execute(_OBJECTS.encode()).fetchall()
            for oid, relkind, persistence, schema, name, path in rows:
                known = object_id(database.name, relkind, schema, name)
                carried = CarriedObject(known, 0, {"kind": kind(relkind, persistence)})
                yield Existing(carried, database.oid, oid, path)
