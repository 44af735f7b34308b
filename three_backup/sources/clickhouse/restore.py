"""Brings a table or view back.

The server reads S3 itself and restores beside the target, under a name that nobody uses. What
passed CHECK TABLE is then moved into the target's place.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.base import LackingError, Restored
from three_backup.sources.clickhouse import chain, operation, sql
from three_backup.sources.clickhouse.changes import NOT_IN_IT
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.filling import filled
from three_backup.sources.clickhouse.options import cluster_of, s3_settings
from three_backup.sources.clickhouse.relations import (
    DEFINITION_ONLY,
    MATERIALIZED,
    RESTORING,
    SYSTEM,
    Listed,
    Server,
    inner,
    read_server,
    relation,
)
from three_backup.sources.jobs import RestoreJob, Wanted

DATABASE = "SELECT engine FROM system.databases WHERE name = {}"
_CREATE_DATABASE = "CREATE DATABASE IF NOT EXISTS {}{}"
_COUNT = "SELECT count() AS rows FROM {}"
_CHECK = "CHECK TABLE {} SETTINGS check_query_single_value_result = 0"
_EXCHANGING = ("Atomic", "Replicated", "Shared")
"""Engines of databases that can exchange two tables atomically."""


@dataclass(frozen=True, slots=True)
class Task:
    """One object that is being restored."""

    job: RestoreJob
    client: Client
    server: Server
    store: Store
    wanted: Wanted
    target: sql.Relation
    beside: sql.Relation  # where it is restored to, before it is moved to the target
    everywhere: str  # the clause ON CLUSTER, or empty
    before: Listed | None  # what had the target's name, None for nothing
    # The table that a materialized view writes to; None for one with own rows and for all else.
    fills: str | None

    @property
    def about(self) -> str:
        return str(self.wanted.target)

    @property
    def id(self) -> str:
        """The beginning of the ids of its operations."""
        return f"three_backup{self.beside.name}"

    @property
    def manifests(self) -> list[Manifest]:
        return [files.manifest for files in self.job.chain]


def restore(job: RestoreJob, store: Store) -> Iterator[tuple[Wanted, Restored | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _restore(prepare(job, store, wanted))
        except BackupError as error:
            yield wanted, _lacking(error) if error.code == "clickhouse.no_table" else error


def _lacking(error: BackupError) -> BackupError:
    """Return the error of a view or dictionary whose table is not there, yet or any more."""
    return LackingError(error.code, error.message, error.hint)


def prepare(job: RestoreJob, store: Store, wanted: Wanted) -> Task:
    """Return the work of one restore; changes nothing yet.

    Raises BackupError if the target is in the way or belongs to another cluster.
    """
    client = connect(str(wanted.target), store.storage)
    server, target = read_server(client, job.source_settings), sql.relation(wanted.target)
    if wanted.target.level1 != server.cluster:
        raise BackupError(
            "clickhouse.cluster",
            f"{wanted.target}: the server here belongs to cluster {server.cluster}",
            f"restore with --level1 {server.cluster}, or set CLICKHOUSE_HOST to the other one",
        )
    belongs_to_server = wanted.object.level2 == SYSTEM
    if belongs_to_server and sql.relation(wanted.object) != target:
        raise BackupError(
            "clickhouse.system",
            f"{wanted.target}: what belongs to the server comes back under its own name only",
            f"restore {wanted.object} without another name; what is there stays as it is, unless "
            "--overwrite replaces it",
        )
    before = None if belongs_to_server else relation(client, target)
    if before is not None and not job.overwrite:
        raise BackupError(
            "clickhouse.exists",
            f"{wanted.target}: there is one already",
            "replace it with --overwrite, or restore beside it with --level3-suffix",
        )
    fills = filled(store, [files.manifest for files in job.chain], wanted)
    everywhere = cluster_of(wanted.target, job.source_settings)
    beside = _beside(job, wanted, before)
    return Task(job, client, server, store, wanted, target, beside, everywhere, before, fills)


def _beside(job: RestoreJob, wanted: Wanted, before: Listed | None) -> sql.Relation:
    """Return where to restore to: beside the target, but a new replicated table at the target.

    Its path in Keeper may hold its name, and it could not be renamed then.
    """
    target = sql.relation(wanted.target)
    if target.database == SYSTEM:
        return target
    if before is None and str(_facts(job).get("engine", "")).startswith("Replicated"):
        return target
    digest = hashlib.sha256(str(wanted.target).encode("utf-8", "surrogatepass")).hexdigest()
    return sql.Relation(target.database, f"{RESTORING}{digest[:16]}")


def _restore(work: Task) -> Restored:
    if work.target.database == SYSTEM:
        _end_earlier(work)
        return Restored({"bytes_read": _run(work)})
    _make_room(work)
    with _removed_on_failure(work):
        read = _run(work)
        found = relation(work.client, work.beside)
        if found is None:
            raise work.client.explained("the restored table is gone")
        _check(work, found)
        facts = {**_rows(work, found), "bytes_read": read}
        notes = _notes(work, found)
        _move(work)
    return Restored(facts, (*notes, *_drop_replaced(work)))


def _make_room(work: Task) -> None:
    """Create the database and remove what a killed restore left."""
    name = sql.identifier(work.target.database)
    work.client.ask(_CREATE_DATABASE.format(name, work.everywhere))
    _end_earlier(work)
    if work.beside != work.target:
        _drop(work, work.beside)


def _end_earlier(work: Task) -> None:
    for earlier in operation.beginning(work.client, work.id):
        operation.kill(work.client, earlier)


def _drop(work: Task, what: sql.Relation) -> None:
    found = relation(work.client, what)
    if found is not None:
        work.client.ask(sql.drop(what, work.everywhere, dictionary=found.kind == "dictionary"))


@contextmanager
def _removed_on_failure(work: Task) -> Iterator[None]:
    try:
        yield
    except BackupError:
        with suppress(BackupError):  # the server itself may be gone
            for left in operation.beginning(work.client, work.id):
                operation.kill(work.client, left)
            _drop(work, work.beside)
        raise


def _run(work: Task) -> int:
    """Have the server restore. Return the bytes that it read."""
    work.job.expect(sum(manifest.stored_size for manifest in work.manifests))
    settings = work.job.source_settings
    for key, body in chain.outdated(work.store, work.manifests, settings, work.about):
        work.store.write(key, body)
    folders = chain.places(work.store, work.manifests, settings)
    base = folders[-2] if len(folders) > 1 else None
    operation_id = f"{work.id}-{uuid4()}"
    allowed = dict.fromkeys(work.server.refuses, 1)  # the source let somebody create it
    how = "replace" if work.job.overwrite else "if-not-exists"
    created = {"create_access": how, "create_function": how}
    if work.target.database != SYSTEM:
        created = {}
    chosen = {"id": operation_id, **allowed, **created, **s3_settings(work.server, base)}
    work.client.ask(
        sql.restore(
            sql.relation(work.wanted.object),
            work.beside,
            folders[-1],
            chosen,
            base,
            work.everywhere,
        )
    )
    begun = operation.known(work.client, work.about, operation_id)
    done = operation.awaited(work.client, work.about, begun, settings, work.job.advance)
    if not done.done:
        raise work.client.explained(done.error)
    return done.moved


def _check(work: Task, found: Listed) -> None:
    """Run CHECK TABLE: RESTORE compares no checksums, so only this finds a flipped bit."""
    checked = inner(work.client, found) if found.subtype == "view" else found
    if checked is None or not checked.checkable:
        return
    for row in work.client.ask(_CHECK.format(checked.relation)):
        if not int(row["is_passed"]):
            raise BackupError(
                "clickhouse.damaged",
                f"{work.about}: part {row['part_path']} came back damaged ({row['message']})",
                "restore another snapshot with --snapshot; tb-list --snapshots names them",
            )


def _rows(work: Task, found: Listed) -> dict[str, Any]:
    """Count rows, but only where they are stored: counting the rows of a queue consumes them."""
    if not found.stores:
        return {}
    (counted,) = work.client.ask(_COUNT.format(found.relation))
    return {"rows": int(counted["rows"])}


def _notes(work: Task, found: Listed) -> Sequence[str]:
    object_id, notes = work.wanted.object, []
    if found.facts.get("data") == DEFINITION_ONLY and found.kind != "dictionary":
        notes.append(f"ClickHouse backs up the definition of {found.engine} only, not its rows")
    notes += (NOT_IN_IT.format(one) for one in work.manifests[-1].facts.get("pending", ()))
    moved = object_id.level2 != work.target.database
    if moved and sql.identifier(object_id.level2) in _quoted(found.reads, object_id):
        notes.append(f"it reads from the tables of {object_id.level2}, as it did before")
    if found.appends:
        notes.append("from now on it refreshes itself and adds to these rows")
    if found.kind == MATERIALIZED and not found.refreshed:
        notes += _filling_notes(work)
    return notes


def _filling_notes(work: Task) -> Iterator[str]:
    """Yield notes on a materialized view, which is at work as soon as it exists."""
    if work.fills is None and sql.relation(work.wanted.object) != work.target:
        yield "from now on it gathers what is inserted into the tables that it reads, too"
    elif work.fills is not None and work.before is not None:
        yield f"rows that were inserted while it was replaced may be in {work.fills} twice"


def _quoted(query: str, object_id: ObjectId) -> str:
    """Return the query with the object's database in quotes wherever it is named."""
    return query.replace(f"{object_id.level2}.", f"{sql.identifier(object_id.level2)}.")


def _move(work: Task) -> None:
    """Move what was restored into the target's place."""
    if work.beside == work.target:
        return
    client, everywhere = work.client, work.everywhere
    if work.before is None:
        client.ask(sql.rename([(work.beside, work.target)], everywhere))
    elif _exchanges(work):
        client.ask(sql.exchange(work.beside, work.target, everywhere))
    else:
        aside = sql.Relation(work.beside.database, f"{work.beside.name}-replaced")
        _drop(work, aside)
        pairs = [(work.target, aside), (work.beside, work.target), (aside, work.beside)]
        client.ask(sql.rename(pairs, everywhere))


def _exchanges(work: Task) -> bool:
    (database,) = work.client.ask(DATABASE.format(sql.literal(work.target.database)))
    return database["engine"] in _EXCHANGING


def _drop_replaced(work: Task) -> Sequence[str]:
    """Drop what was replaced, which has the name `beside` now; return a note if that fails."""
    if work.before is None:
        return ()
    try:
        _drop(work, work.beside)
    except BackupError as error:
        return (f"what it replaced is left as {work.beside}: {error}",)
    return ()


def _facts(job: RestoreJob) -> dict[str, Any]:
    return dict(job.chain[-1].manifest.objects[0].facts)
