"""Looks into snapshots: the server attaches what lies in S3 and reads just what is asked for."""

import re
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import ObjectId
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import chain, sql, stored
from three_backup.sources.clickhouse.attached import attached
from three_backup.sources.clickhouse.client import client_argv, connect
from three_backup.sources.clickhouse.relations import stores
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.looking import Asked, Form, Shown, Way, no_files

_FORMATS: dict[str, str] = {
    Form.CSV: "CSVWithNames",
    Form.JSON: "JSONEachRow",
    Form.SQL: "SQLInsert",
}
_FORMAT = re.compile("[A-Za-z0-9]+")
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
            attached(self._job, self._store, client, object_id) as relation,
            client.stream(_statement(object_id, asked, relation)) as readable,
        ):
            while piece := readable.read(_PIECE):
                yield piece

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        manifests = [files.manifest for files in self._job.chain]
        newest_first = reversed(chain.folders(manifests))
        text = stored.definition(self._store, newest_first, str(object_id))
        yield text.rstrip("\n").encode("utf-8", "surrogateescape") + b"\n"

    def names(self, object_id: ObjectId, path: str) -> Iterator[bytes]:
        raise no_files(object_id)

    def at_path(self, object_id: ObjectId, path: str) -> AbstractContextManager[Shown]:
        raise no_files(object_id)

    @contextmanager
    def opened(self, object_id: ObjectId) -> Iterator[Way]:
        _check_stored(self._job, object_id)
        client = connect(str(object_id), self._store.storage)
        with attached(self._job, self._store, client, object_id) as relation:
            yield _way(relation)


def _way(relation: sql.Relation) -> Way:
    argv = (*client_argv(), f"--database={relation.database}")
    return Way(shlex.join(argv), {"database": relation.database, "relation": str(relation)})


def has_rows(job: RestoreJob, object_id: ObjectId) -> bool:
    """Return whether the snapshot has rows of the object."""
    (carried,) = job.chain[-1].manifest.objects
    return object_id.subtype == "table" and stores(str(carried.facts.get("engine")))


def _check_stored(job: RestoreJob, object_id: ObjectId) -> None:
    """Raise BackupError where the snapshot has no rows."""
    if not has_rows(job, object_id):
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
