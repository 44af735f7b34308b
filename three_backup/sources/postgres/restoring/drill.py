"""Proves that tables can be restored: revives them on a scratch server, reads all rows."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.base import AbsentError, Restored
from three_backup.sources.jobs import DrillJob, RestoreJob, Wanted
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.relations import databases
from three_backup.sources.postgres.restoring.family import (
    MATERIALIZED_VIEW,
    Family,
    absent,
    read_family,
)
from three_backup.sources.postgres.restoring.restore import DAMAGED
from three_backup.sources.postgres.restoring.revive import ANY_DATABASE, Revived, revived
from three_backup.sources.postgres.scratch.locales import unsortable_collations
from three_backup.sources.postgres.scratch.server import ScratchServer

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from three_backup.sources.postgres.connection import Connection

Outcome = tuple[ObjectId, Restored | BackupError]

# Rows are read from the pages of their table, in order, and not by way of an index.
_READ_PAGES = """
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0
"""
_RELATION = "SELECT oid::regclass::text, relispopulated FROM pg_class WHERE oid = %s::oid"
_COUNT = "SELECT count(*) FROM {}"
_AMCHECK = "SELECT FROM pg_available_extensions WHERE name = 'amcheck'"
_CREATE_AMCHECK = "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog"
_SCHEMA_OF_AMCHECK = """
SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace
 WHERE extname = 'amcheck'
"""
_BTREES = """
SELECT i.indexrelid::regclass::text,
       pg_relation_size(i.indexrelid) + pg_relation_size(i.indrelid),
       NOT i.indcollation::oid[] && %s::oid[]
  FROM pg_class t JOIN pg_index i ON i.indrelid IN (t.oid, t.reltoastrelid)
  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
 WHERE t.oid = %s::oid AND a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid
"""
_CHECK_BTREE = "SELECT {}.bt_index_check(%s::regclass, true)"
LEAST_SECONDS = 600
"""How long the check of an index may take, however small it is."""

_BYTES_A_SECOND = 1_000_000
_CHECK_HEAP = "SELECT blkno, msg FROM {}.verify_heapam(%s::regclass) LIMIT 1"


def drill(job: DrillJob) -> Iterator[Outcome]:
    """Revive the objects on a scratch server, and yield each with what was found.

    facts: rows; indexes, how many B-trees amcheck found to fit their table; content, a hash of all
    rows, where the job asks for it; moment, the one that WAL was replayed to.
    """
    chain = OpenedChain(job.chain, job.advance, expect=lambda size: None)
    yield from _drill(job, chain, [carried.id for carried in job.objects])


def _drill(job: DrillJob, chain: OpenedChain, objects: Sequence[ObjectId]) -> Iterator[Outcome]:
    """Drill the objects together; after damage, which may be of one only, each half again."""
    begun = False
    try:
        with revived(_restore_job(job), chain, objects) as scratch:
            begun = True
            for note in scratch.reached.notes if scratch.reached else ():
                job.say(f"{job.chain[-1].manifest.carrier}: {note}")
            for object_id in objects:
                if object_id in scratch.failed:
                    yield object_id, _about(object_id, scratch.failed[object_id])
                else:
                    yield object_id, _looked_at(scratch, object_id, job)
    except BackupError as error:
        if begun or error.code not in DAMAGED:
            raise
        if len(objects) == 1:
            yield objects[0], _about(objects[0], error)
            return
        half = len(objects) // 2
        yield from _drill(job, chain, objects[:half])
        yield from _drill(job, chain, objects[half:])


def _restore_job(job: DrillJob) -> RestoreJob:
    """Return the job for revived(). It is never restored: nothing leaves the scratch server."""
    return RestoreJob(
        wanted=[Wanted(carried.id, carried.id) for carried in job.objects],
        chain=job.chain,
        overwrite=False,
        source_settings=job.source_settings,
        work_dir=job.work_dir,
        advance=job.advance,
        say=job.say,
        landing=job.landing,
        store=job.store,
        verify=True,
    )


def _looked_at(revived: Revived, object_id: ObjectId, job: DrillJob) -> Restored | BackupError:
    moment = {} if revived.reached is None else {"moment": revived.reached.facts}
    try:
        with revived.server.connect(object_id.level1) as scratch:
            family = read_family(scratch, object_id, {object_id: object_id}, job.landing)
            return Restored({**_facts(scratch, family, job), **moment})
    except AbsentError as error:
        return error
    except BackupError as error:
        if _lacks_database(revived.server, object_id.level1):
            return absent(object_id, job.landing)
        return _about(object_id, error)


def _lacks_database(server: ScratchServer, name: str) -> bool:
    """Tell whether there is no such database; then the catalogs of all are laid out."""
    with suppress(BackupError), server.connect(ANY_DATABASE) as scratch:
        return all(database.name != name for database in databases(scratch))
    return False


def _facts(scratch: "Connection", family: Family, job: DrillJob) -> dict[str, int | str]:
    """Return the facts of the object with its partitions.

    A view has none: it has no rows, and reading its family showed that it exists.
    """
    tables = [table.oid for table in family.tables if table.kind in ("r", MATERIALIZED_VIEW)]
    if not tables:
        return {}
    scratch.execute(_READ_PAGES)
    digest = hashlib.sha256() if job.content else None
    rows = sum(_rows(scratch, oid, digest) for oid in tables)
    facts: dict[str, int | str] = {"rows": rows, "indexes": 0}
    amcheck = _amcheck(scratch)
    if amcheck is not None:
        unsortable = unsortable_collations(scratch)
        checked = [_checked(scratch, oid, amcheck, unsortable) for oid in tables]
        facts["indexes"] = sum(done for done, _ in checked)
        if skipped := sum(left for _, left in checked):
            job.say(
                f"{family.object}: {skipped} of its indexes not checked, since this host sorts "
                "text in another way than the server did"
            )
    return facts if digest is None else {**facts, "content": digest.hexdigest()}


def _rows(scratch: "Connection", oid: int, digest: "Hash | None") -> int:
    """Count the rows of the table; only hashing reads each of them to its last byte."""
    ((name, populated),) = scratch.execute(_RELATION, (oid,))
    if not populated:
        return 0
    if digest is None:
        ((rows,),) = scratch.execute(_COUNT.format(name).encode(*AS_BYTES))
        return int(rows)
    with scratch.cursor() as reading:
        with reading.copy(
            f"COPY (TABLE {name}) TO STDOUT (FORMAT binary)".encode(*AS_BYTES)
        ) as given:
            for row in given:
                digest.update(row)
        return reading.rowcount


def _amcheck(scratch: "Connection") -> str | None:
    """Return the schema of amcheck's functions; None where the server's programs lack it."""
    if scratch.execute(_AMCHECK).fetchone() is None:
        return None
    scratch.execute(_CREATE_AMCHECK)
    ((schema,),) = scratch.execute(_SCHEMA_OF_AMCHECK)
    return str(schema)


def _checked(
    scratch: "Connection", oid: int, amcheck: str, unsortable: Sequence[int]
) -> tuple[int, int]:
    """Check the table; return how many B-trees have all its rows in order, and how many may have.

    unsortable: collations by oid whose order is another here. Raises BackupError for damage.
    """
    ((name, _),) = scratch.execute(_RELATION, (oid,))
    damage = scratch.execute(_CHECK_HEAP.format(amcheck).encode(*AS_BYTES), (name,)).fetchone()
    if damage is not None:
        raise BackupError(
            "postgres.rows_damaged",
            f"{name} came back damaged, page {damage[0]}: {damage[1]}",
            "restore another snapshot, and check the disk of the server (pg_amcheck)",
        )
    btrees = scratch.execute(_BTREES, (list(unsortable), oid)).fetchall()
    checked = [(index, size) for index, size, is_sortable in btrees if is_sortable]
    for index, size in checked:
        _check_btree(scratch, amcheck, index, LEAST_SECONDS + size // _BYTES_A_SECOND)
    return len(checked), len(btrees) - len(checked)


def _check_btree(scratch: "Connection", amcheck: str, index: str, seconds: int) -> None:
    """Check an index; what it calls, which its owner wrote, may take so long and no longer.

    PostgreSQL runs that with the rights of the table's owner alone.
    """
    scratch.execute(f"SET statement_timeout = '{seconds}s'".encode())
    try:
        scratch.execute(_CHECK_BTREE.format(amcheck).encode(*AS_BYTES), (index,))
    except BackupError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise
        raise BackupError(
            "postgres.index_endless",
            f"index {index} could not be checked within {seconds} seconds",
            "look at the functions that it calls (\\d in psql): one of them may not end",
        ) from error
    finally:
        scratch.execute("SET statement_timeout = 0")


def _about(object_id: ObjectId, error: BackupError) -> BackupError:
    return BackupError(error.code, f"{object_id}: {error.message}", error.hint)
