"""Looks into snapshots: the server attaches what lies in S3 and reads just what is asked for.

Servers that cannot attach a backup (older than 25.2) restore the table into a database of its own,
which is dropped afterwards.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from three_backup.errors import BackupError, UnreachableError, UsageError
from three_backup.host.machine import host_id
from three_backup.model.objects import ObjectId
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import chain, sql, stored
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.options import place_of
from three_backup.sources.clickhouse.relations import DRILLING, read_server, stores
from three_backup.sources.clickhouse.restore import restore
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.looking import Asked, Form

_FORMATS: dict[str, str] = {
    Form.CSV: "CSVWithNames",
    Form.JSON: "JSONEachRow",
    Form.SQL: "SQLInsert",
}
_FORMAT = re.compile("[A-Za-z0-9]+")
_ATTACH = "CREATE DATABASE {} ENGINE = Backup({}, {})"
_CREATE = "CREATE DATABASE {}"
_COUNT = "SELECT count() AS rows FROM {}"
_OURS = "SELECT name FROM system.databases WHERE startsWith(name, {})"
_INSERT_INTO = "output_format_sql_insert_table_name"
_PIECE = 1 << 20


@contextmanager
def look(job: RestoreJob, store: Store) -> Iterator["Rows"]:
    """Ask nothing yet: each table is attached when it is looked at."""
    yield Rows(job, store)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows and the definitions of what lies in S3."""

    _job: RestoreJob
    _store: Store

    def rows(self, object_id: ObjectId, asked: Asked) -> Iterator[bytes]:
        _check_form(asked)
        _check_stored(self._job, object_id)
        client = connect(str(object_id), self._store.storage)
        with (
            _attached(self._job, self._store, client, object_id) as relation,
            client.stream(_statement(object_id, asked, relation)) as readable,
        ):
            while piece := readable.read(_PIECE):
                yield piece

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        manifests = [files.manifest for files in self._job.chain]
        newest_first = reversed(chain.folders(manifests))
        text = stored.definition(self._store, newest_first, str(object_id))
        yield text.rstrip("\n").encode("utf-8", "surrogateescape") + b"\n"


def _check_stored(job: RestoreJob, object_id: ObjectId) -> None:
    """Raise BackupError where the snapshot has no rows."""
    (carried,) = job.chain[-1].manifest.objects
    if object_id.subtype != "table" or not stores(str(carried.facts.get("engine"))):
        raise BackupError(
            "clickhouse.no_rows",
            f"{object_id}: it has no rows of its own in the snapshot",
            "--definition shows what makes it; look at the tables that it reads",
        )


def _statement(object_id: ObjectId, asked: Asked, relation: sql.Relation) -> str:
    form = _FORMATS.get(asked.form, asked.form)
    names = ", ".join(map(sql.identifier, asked.columns)) or "*"
    where = f" WHERE ({asked.where}\n)" if asked.where else ""
    limit = f" LIMIT {asked.limit}" if asked.limit is not None else ""
    named = f" SETTINGS {_INSERT_INTO} = {sql.literal(object_id.level3)}"
    settings = named if asked.form == Form.SQL else ""
    return f"SELECT {names} FROM {relation}{where}{limit}{settings} FORMAT {form}"


def _check_form(asked: Asked) -> None:
    if not _FORMAT.fullmatch(asked.form):
        raise UsageError(
            "cat.format", f"{asked.form!r} is not a format", "say csv, json, sql, or Parquet"
        )


@contextmanager
def _attached(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId
) -> Iterator[sql.Relation]:
    """Have the table in a database of ours during the block; drop what killed looks left."""
    ours = f"{DRILLING}look_{hashlib.sha256(host_id().encode()).hexdigest()[:12]}_"
    for name in _left(client, ours):
        client.ask(sql.drop_database(name))
    database = f"{ours}{os.getpid()}"
    try:
        relation = sql.Relation(database, object_id.level3)
        if not _attach(job, store, client, object_id, relation):
            client.ask(_CREATE.format(sql.identifier(database)))
            _restore(job, store, client, object_id, database)
        yield relation
    finally:
        client.ask(sql.drop_database(database))


def _left(client: Client, ours: str) -> list[str]:
    """Return our databases whose processes have ended."""
    found = (str(row["name"]) for row in client.ask(_OURS.format(sql.literal(ours))))
    return [name for name in found if not Path("/proc", name.removeprefix(ours)).exists()]


def _attach(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId, relation: sql.Relation
) -> bool:
    """Attach what lies in S3, and return whether the server can do so."""
    manifests = [files.manifest for files in job.chain]
    place = place_of(store, chain.folders(manifests)[-1], job.source_settings)
    name, source = sql.identifier(relation.database), sql.literal(object_id.level2)
    try:
        client.ask(_ATTACH.format(name, source, place.secret))
        client.ask(_COUNT.format(relation))  # opens the parts of all links
    except UnreachableError:
        raise
    except BackupError:
        client.ask(sql.drop_database(relation.database))
        return False
    return True


def _restore(
    job: RestoreJob, store: Store, client: Client, object_id: ObjectId, database: str
) -> None:
    level1 = read_server(client, job.source_settings).cluster
    target = replace(object_id, level1=level1, level2=database)
    settings = replace(job.source_settings, clickhouse_on_cluster=False)
    options = {**job.options, "check": False}
    whole = replace(
        job, wanted=[Wanted(object_id, target)], source_settings=settings, options=options
    )
    for _, outcome in restore(whole, store):
        if isinstance(outcome, BackupError):
            raise outcome
