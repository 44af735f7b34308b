"""Brings a table or view back.

The server reads S3 itself and restores beside the target, under a name that nobody uses. What
passed CHECK TABLE is then moved into the target's place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.s3.store import Store
from three_backup.sources.base import LackingError, Restored
from three_backup.sources.clickhouse import chain, operation, sql
from three_backup.sources.clickhouse.operation import Operation
from three_backup.sources.clickhouse.options import s3_settings
from three_backup.sources.clickhouse.proof import prove
from three_backup.sources.clickhouse.relations import (
    SYSTEM,
    KnownServer,
    Listed,
    relations,
    stores,
)
from three_backup.sources.clickhouse.restore_notes import restore_notes
from three_backup.sources.clickhouse.task import Task, prepare
from three_backup.sources.jobs import RestoreJob, Wanted

DATABASE = "SELECT engine FROM system.databases WHERE name = {}"
_CREATE_DATABASE = "CREATE DATABASE IF NOT EXISTS {}{}"
_COUNT = "(SELECT toString(count()) FROM {})"
_EARLIER = (
    "SELECT {} AS earlier, (SELECT count() FROM system.databases WHERE name = {}) AS databases"
)
_UNCHECKED = "it was not checked: what is damaged shows only when it is read; CHECK TABLE {} tells"
_EXCHANGING = ("Atomic", "Replicated", "Shared")
"""Engines of databases that can exchange two tables atomically."""
_LOST = frozenset(
    f"clickhouse.{word}"
    for word in ("damaged", "incomplete", "no_base", "other_base", "s3_failed", "s3_unreachable")
)
"""Codes of what goes wrong where keys are missing or damaged."""


def restore(
    job: RestoreJob, store: Store, known: KnownServer | None = None
) -> Iterator[tuple[Wanted, Restored | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _restore(prepare(job, store, wanted, known))
        except BackupError as error:
            lacking = error.code == "clickhouse.no_table"
            yield wanted, _lacking(error) if lacking else _hinted(job, store, error)


def _lacking(error: BackupError) -> BackupError:
    """Return the error of a view or dictionary whose table is not there, yet or any more."""
    return LackingError(error.code, error.message, error.hint)


def _hinted(job: RestoreJob, store: Store, error: BackupError) -> BackupError:
    """Return the error; where something is missing in S3, with the store that has a copy.

    The server reads from one store alone, so that nothing is put together out of two.
    """
    manifest = job.chain[-1].manifest
    key = layout.manifest_key(manifest.carrier, manifest.snapshot)
    for spare in store.spares.stores if error.code in _LOST else ():
        with suppress(BackupError):
            if spare.size(key) is not None:
                hint = f"restore the copy: tb-restore --store {spare.storage.store}"
                return type(error)(error.code, error.message, hint)
    return error


def _restore(work: Task) -> Restored:
    if work.target.database == SYSTEM:
        _end_earlier(work)
        return Restored({"bytes_read": _run(work).moved})
    _make_room(work)
    with _removed_on_failure(work):
        done = _run(work, _rows_asked(work))
        found = relations(work.client, [work.beside]).get(work.beside)
        if found is None:
            raise work.client.explained("the restored table is gone")
        proved = prove(work, found)
        rows = {"rows": int(done.told)} if done.told else {}
        facts = {**rows, "bytes_read": done.moved}
        notes = list(restore_notes(work, found))
        if not proved:
            facts["unchecked"] = True
            notes.append(_UNCHECKED.format(work.target))
        _move(work)
    return Restored(facts, (*notes, *_drop_replaced(work)))


def _make_room(work: Task) -> None:
    """Create the database and remove what a killed restore left."""
    if not _end_earlier(work):
        name = sql.identifier(work.target.database)
        work.client.ask(_CREATE_DATABASE.format(name, work.everywhere))
    if work.left is not None:
        _drop(work, work.left)


def _end_earlier(work: Task) -> bool:
    """End what a killed restore left at work; return whether the database is there."""
    (found,) = work.client.ask(
        _EARLIER.format(operation.at_work(work.id), sql.literal(work.target.database))
    )
    for operation_id in found["earlier"]:
        earlier = operation.find(work.client, operation_id)
        if earlier is not None:
            operation.kill(work.client, earlier)
    return bool(int(found["databases"]))


def _drop(work: Task, found: Listed) -> None:
    kind = found.kind == "dictionary"
    work.client.ask(sql.drop(found.relation, work.everywhere, dictionary=kind))


def _drop_if_there(work: Task, what: sql.Relation) -> None:
    for found in relations(work.client, [what]).values():
        _drop(work, found)


@contextmanager
def _removed_on_failure(work: Task) -> Iterator[None]:
    try:
        yield
    except BackupError:
        with suppress(BackupError):  # the server itself may be gone
            _end_earlier(work)
            _drop_if_there(work, work.beside)
        raise


def _run(work: Task, asked: str = operation.NOTHING) -> Operation:
    """Have the server restore, in our turn. Return how that ended.

    asked: what the server is asked of the restored table, an expression.
    """
    client, settings, operation_id = work.client, work.job.source_settings, f"{work.id}-{uuid4()}"
    statement = _statement(work, operation_id)
    with work.job.turn(), client.begun(statement) as begun:
        work.job.expect(sum(manifest.stored_size for manifest in work.manifests))
        ended = operation.await_answer(
            client, work.about, operation_id, begun, settings, work.job.advance
        )
    if ended is not None and not ended.done:
        raise client.explained(ended.error)
    return operation.known(client, work.about, operation_id, asked)


def _statement(work: Task, operation_id: str) -> str:
    settings = work.job.source_settings
    for key, body in chain.outdated(work.store, work.manifests, settings, work.about):
        work.store.write(key, body)
    folders = chain.places(work.store, work.manifests, settings)
    base = folders[-2] if len(folders) > 1 else None
    allowed = dict.fromkeys(work.server.refuses, 1)  # the source let somebody create it
    how = "replace" if work.job.overwrite else "if-not-exists"
    created = {"create_access": how, "create_function": how}
    if work.target.database != SYSTEM:
        created = {}
    chosen = {"id": operation_id, **allowed, **created, **s3_settings(work.server, base)}
    return sql.restore(
        sql.relation(work.wanted.object),
        work.beside,
        folders[-1],
        chosen,
        base,
        work.everywhere,
    )


def _rows_asked(work: Task) -> str:
    """Ask for the number of rows, but only of tables: counting those of a queue consumes them."""
    carried = work.manifests[-1].objects[0]
    stored = carried.id.subtype == "table" and stores(str(carried.facts.get("engine")))
    return _COUNT.format(work.beside) if stored else operation.NOTHING


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
        _drop_if_there(work, aside)
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
        _drop_if_there(work, work.beside)
    except BackupError as error:
        return (f"what it replaced is left as {work.beside}: {error}",)
    return ()
