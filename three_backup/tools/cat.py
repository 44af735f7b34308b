"""tb-cat - write the rows of a table or view out of a snapshot

Usage:
  tb-cat [options] [PATTERN]...

Options:
      --snapshot ID      out of this snapshot, not out of the newest
      --at TIME          as it was at TIME, or at the newest snapshot before it
      --lsn LSN          as PostgreSQL's log had it just before this position
      --xid XID          as it was when this transaction of PostgreSQL had ended
      --before-drop      as it was just before it was dropped, or else truncated
      --exact            fail where just that moment cannot be had
      --format FORM      csv, json (an object a line), sql, or one of the server [default: csv]
      --columns NAMES    only these columns, in this order: id,name
      --where CONDITION  only the rows that meet it, in the SQL of the server
      --limit N          so many rows at most
      --definition       what makes the object, as SQL, instead of its rows
      --dir DIR          a file for each object in DIR, instead of standard output
      --unsigned         take what manifest_key did not sign, too
      --s3-prefix NAME   what another host backed up, below its s3_prefix
      --progress WHEN    draw a bar: auto, always or never [default: auto]
  -c, --config FILE      the configuration
      --env-file FILE    variables instead of .env.restore and .env beside it
  -h, --help             show this
      --version          show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. Several objects make a tar. No live server is touched, and only what is looked at
is read.
"""

import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, Self

from three_backup import pipe
from three_backup.errors import Exit, UsageError
from three_backup.model.objects import ObjectId
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation, translated
from three_backup.restoring.looking import Look, looked_at
from three_backup.restoring.search import Search
from three_backup.screen.terminal import is_terminal
from three_backup.sources.looking import Asked, Form, Looking

_SUFFIXES: dict[str, str] = {Form.CSV: ".csv", Form.JSON: ".jsonl", Form.SQL: ".sql"}


@dataclass(frozen=True, slots=True)
class Args:
    search: Search
    asked: Asked
    definition: bool
    folder: Path | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo) -> Self:
        folder = arguments["--dir"]
        return cls(
            search=Search.of(arguments, zone),
            asked=_asked(arguments),
            definition=bool(arguments["--definition"]),
            folder=None if folder is None else Path(folder),
        )

    def pieces(self, looking: Looking, object_id: ObjectId) -> Iterator[bytes]:
        """Yield what is asked for of an object."""
        if self.definition:
            return looking.definition(object_id)
        return looking.rows(object_id, self.asked)

    def file_name(self, object_id: ObjectId) -> str:
        known = _SUFFIXES.get(self.asked.form, f".{self.asked.form.lower()}")
        suffix = ".sql" if self.definition else known
        return ".".join(str(object_id).split("/")[2:]) + suffix


def main() -> int:
    return pipe.main(__doc__, run, restores=True)


def run(invocation: Invocation) -> Exit:
    args = Args.of(invocation.arguments, host_zone(os.environ))
    invocation.warn()
    jobs = args.search.jobs(invocation)
    requests, others = args.search.found(invocation, jobs)
    for record in others:
        invocation.count(record)
    with _sink(invocation, args, several=len(requests) > 1) as write:
        looks = looked_at(invocation, jobs, requests, write)
        failures = [(record, error) for record, error in looks if error is not None]
    for record, error in failures:
        invocation.count(invocation.fail(record, error))
    return invocation.status


@contextmanager
def _sink(invocation: Invocation, args: Args, *, several: bool) -> Iterator[Look]:
    """Yield what writes an object: to standard output, into a tar there, or into a folder."""
    if args.folder is not None:
        with translated():
            args.folder.mkdir(parents=True, exist_ok=True)
        yield partial(_write_file, args, args.folder)
    elif several:
        if is_terminal(sys.stdout):
            raise UsageError(
                "cat.terminal",
                "several objects make a tar, which is not for a terminal",
                "redirect it (> rows.tar), or name a folder with --dir",
            )
        with tarfile.open(fileobj=_Output(invocation), mode="w|") as tar:
            yield partial(_add_to_tar, args, tar)
    else:
        yield partial(_pour, invocation, args)


def _pour(invocation: Invocation, args: Args, looking: Looking, object_id: ObjectId) -> None:
    for piece in args.pieces(looking, object_id):
        invocation.pour(piece)


@translated()
def _write_file(args: Args, folder: Path, looking: Looking, object_id: ObjectId) -> None:
    """Write a file of the folder. It has its name only once it is whole."""
    with NamedTemporaryFile(dir=folder, prefix=".unfinished-", delete=False) as file:
        try:
            file.writelines(args.pieces(looking, object_id))
            Path(file.name).rename(folder / args.file_name(object_id))
        except BaseException:
            Path(file.name).unlink()
            raise


@translated()
def _add_to_tar(args: Args, tar: tarfile.TarFile, looking: Looking, object_id: ObjectId) -> None:
    with TemporaryFile() as file:
        file.writelines(args.pieces(looking, object_id))
        member = tarfile.TarInfo(args.file_name(object_id))
        member.size = file.tell()
        member.mtime = int(time.time())
        file.seek(0)
        tar.addfile(member, file)


class _Output(io.RawIOBase):
    """Standard output as a file that a tar is written to."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        return self._invocation.pour(piece)


def _asked(arguments: Mapping[str, Any]) -> Asked:
    form, limit = arguments["--format"], arguments["--limit"]
    if limit is not None and not limit.isdecimal():
        raise UsageError("cat.limit", f"{limit!r} is not a number of rows", "write 20, say")
    if arguments["--definition"] and (limit or arguments["--where"] or arguments["--columns"]):
        raise UsageError(
            "cat.definition", "--definition shows no rows", "leave out what chooses among them"
        )
    names = (arguments["--columns"] or "").split(",")
    return Asked(
        form=form,
        columns=tuple(name.strip() for name in names if name.strip()),
        where=arguments["--where"],
        limit=None if limit is None else int(limit),
    )
