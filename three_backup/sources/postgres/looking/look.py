"""Has a private server read the rows of a snapshot, and write down what makes its objects."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import psycopg

from three_backup.command import stream
from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.looking import Asked, Form, Shown, Way, no_files
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.connection import quoted, said
from three_backup.sources.postgres.copied_out import copied_out
from three_backup.sources.postgres.looking.files import check_stored, files_read
from three_backup.sources.postgres.looking.reader import let_reader_in, reader
from three_backup.sources.postgres.looking.way import way
from three_backup.sources.postgres.restoring.family import Family, read_family
from three_backup.sources.postgres.restoring.revive import Revived, revived

_PIECE = 1 << 20
_WHOLE_TREE = ("p", "v", "m")
"""Kinds of relations that are read with all below them; of others the rows are their own."""

# JSON has no raw control characters but between its tokens: so nothing is quoted or doubled.
_JSON = "FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02'"
_ONE_LINE = "translate(row_to_json(r)::text, E'\\n\\r', '  ')"
_OPTIONS: dict[str, str] = {
    Form.CSV: "FORMAT csv, HEADER",
    Form.JSON: _JSON,
    Form.SQL: "FORMAT text",
}
_COLUMNS = """
SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


@contextmanager
def look(job: RestoreJob) -> Iterator["Rows"]:
    """Run a private server on what the wanted objects need of the snapshot.

    Their definitions alone stand in the catalogs.
    """
    chain = OpenedChain(job.chain, job.advance, job.expect)
    objects = [wanted.object for wanted in job.wanted]
    rows = not job.options.get("definition")
    with revived(job, chain, objects, rows=rows, files_of=files_read) as scratch:
        for note in scratch.reached.notes if scratch.reached else ():
            job.say(f"{job.chain[-1].manifest.carrier}: {note}")
        with scratch.server.end() as end:  # one for however many objects
            yield Rows(job, scratch, end)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows and the definitions of what a private server runs on."""

    _job: RestoreJob
    _revived: Revived
    _end: int  # a descriptor to read from once the server has ended

    def rows(self, object_id: ObjectId, asked: Asked) -> Iterator[bytes]:
        if asked.form not in tuple(Form):
            raise UsageError(
                "cat.format", f"{asked.form!r} is not a format", "say csv, json or sql"
            )
        family = self._family(object_id, stored=True)
        with reader(self._revived.server, object_id.level1, object_id.level2) as session:
            statement = _Statement(family, asked, self._columns(family, asked))
            yield from statement.before
            try:
                yield from copied_out(session, statement.copy)
            except (psycopg.Error, BackupError) as error:
                raise _refused(object_id, asked, error) from error
            yield from statement.after

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        self._family(object_id, stored=False)
        name = f"{quoted(object_id.level2)}.{quoted(object_id.level3)}"
        program = self._revived.server.program(
            "pg_dump",
            "--schema-only",
            f"--table-and-children={name}",
            database=object_id.level1,
        )
        with stream(program) as readable:
            while piece := readable.read(_PIECE):
                yield piece

    def names(self, object_id: ObjectId, path: str) -> Iterator[bytes]:
        raise no_files(object_id)

    def at_path(self, object_id: ObjectId, path: str) -> AbstractContextManager[Shown]:
        raise no_files(object_id)

    @contextmanager
    def opened(self, object_id: ObjectId) -> Iterator[Way]:
        family = self._family(object_id, stored=True)
        server, database = self._revived.server, object_id.level1
        let_reader_in(server, database, self._schemas(database))
        found = way(server, database, family.root.source, self._revived.reached)
        yield replace(found, end=self._end)

    def _schemas(self, database: str) -> list[str]:
        """Return the schemas of what is wanted of the database."""
        wanted = [wanted.object for wanted in self._job.wanted]
        return list(dict.fromkeys(one.level2 for one in wanted if one.level1 == database))

    def _family(self, object_id: ObjectId, *, stored: bool) -> Family:
        """Return what the object is. stored: all of its rows have to be in the snapshot."""
        if stored and object_id in self._revived.failed:
            raise _about(object_id, self._revived.failed[object_id])
        with self._revived.server.connect(object_id.level1) as scratch:
            family = read_family(scratch, object_id, {object_id: object_id}, self._job.landing)
            if stored:
                check_stored(scratch, family)
        return family

    def _columns(self, family: Family, asked: Asked) -> tuple[str, ...]:
        """Return the columns as SQL names them; none means all of them."""
        if asked.columns or asked.form != Form.SQL:
            return tuple(map(quoted, asked.columns))
        with self._revived.server.connect(family.object.level1) as scratch:
            ((names,),) = scratch.execute(_COLUMNS, (family.root.oid,)).fetchall()
        return tuple(names or ())


@dataclass(frozen=True, slots=True)
class _Statement:
    """The statement that reads, and what stands around its rows."""

    family: Family
    asked: Asked
    columns: tuple[str, ...]

    @property
    def copy(self) -> bytes:
        form = self.asked.form
        query = self._query
        if form == Form.JSON:
            query = f"SELECT {_ONE_LINE} FROM ({query}) AS r"  # noqa: S608
        return f"COPY ({query}) TO STDOUT ({_OPTIONS[form]})".encode(*AS_BYTES)

    @property
    def before(self) -> Iterator[bytes]:
        if self.asked.form == Form.SQL:
            names = f" ({', '.join(self.columns)})" if self.columns else ""
            yield f"COPY {self._name}{names} FROM stdin;\n".encode(*AS_BYTES)

    @property
    def after(self) -> Iterator[bytes]:
        if self.asked.form == Form.SQL:
            yield b"\\.\n"

    @property
    def _query(self) -> str:
        only = "" if self.family.root.kind in _WHOLE_TREE else "ONLY "
        where = f" WHERE ({self.asked.where}\n)" if self.asked.where else ""
        limit = f" LIMIT {self.asked.limit}" if self.asked.limit is not None else ""
        names = ", ".join(self.columns) or "*"
        return f"SELECT {names} FROM {only}{self._name}{where}{limit}"  # noqa: S608

    @property
    def _name(self) -> str:
        return f"{quoted(self.family.object.level2)}.{quoted(self.family.object.level3)}"


def _refused(object_id: ObjectId, asked: Asked, error: psycopg.Error | BackupError) -> BackupError:
    hint = "correct --where and --columns" if asked.where or asked.columns else ""
    sentence = error.message if isinstance(error, BackupError) else said(error)
    return BackupError("postgres.not_read", f"{object_id}: {sentence}", hint)


def _about(object_id: ObjectId, error: BackupError) -> BackupError:
    return BackupError(error.code, f"{object_id}: {error.message}", error.hint)
