"""tb-cat - write rows or files out of a snapshot

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
      --path PATH        of a container or volume: this file, or a tar of this folder
      --list             of a container or volume: all names in it, or those below --path
      --definition       what makes the object, as SQL or YAML, instead of its content
      --dir DIR          a file for each object in DIR, instead of standard output
      --unsigned         take what manifest_key did not sign, too
      --s3-prefix NAME   what another host backed up, below its s3_prefix
      --store NAME       read the copies in this further store
      --as-of TIME       read the bucket as it was then, by the versions that it keeps
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
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, Self

from three_backup import pipe
from three_backup.errors import Exit, UsageError
from three_backup.listing.names import for_people
from three_backup.model.objects import ObjectId
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation, translated
from three_backup.restoring.looking import Look, looked_at
from three_backup.restoring.search import Search
from three_backup.screen.terminal import is_terminal
from three_backup.sources import source_of
from three_backup.sources.looking import Asked, Content, Form, Looking

_INSTEAD = ("--path", "--list", "--definition")
_OF_ROWS = ("--columns", "--where", "--limit")
_TAR = ".tar"
_SUFFIXES: dict[str, str] = {Form.CSV: ".csv", Form.JSON: ".jsonl", Form.SQL: ".sql"}


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is asked for of an object."""

    suffix: str  # of a file that holds it
    pieces: Iterator[bytes]

    def file_name(self, object_id: ObjectId) -> str:
        return ".".join(str(object_id).split("/")[2:]) + self.suffix


@dataclass(frozen=True, slots=True)
class Args:
    search: Search
    asked: Asked
    definition: bool
    path: str | None
    lists: bool
    folder: Path | None
    zone: tzinfo

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo) -> Self:
        folder = arguments["--dir"]
        return cls(
            search=Search.of(arguments, zone),
            asked=_asked(arguments),
            definition=bool(arguments["--definition"]),
            path=arguments["--path"],
            lists=bool(arguments["--list"]),
            folder=None if folder is None else Path(folder),
            zone=zone,
        )

    @property
    def content(self) -> Content | None:
        """What an object must hold; None: whatever it holds."""
        if self.definition:
            return None
        return Content.ROWS if self.path is None and not self.lists else Content.FILES

    @contextmanager
    def shown(self, looking: Looking, object_id: ObjectId) -> Iterator[_Shown]:
        """Open what is asked for of an object during the block."""
        if self.definition:
            is_files = source_of(object_id.type).content == Content.FILES
            yield _Shown(".yaml" if is_files else ".sql", looking.definition(object_id))
        elif self.lists:
            yield _Shown(_SUFFIXES[Form.JSON], looking.names(object_id, self.path or "/"))
        elif self.path is not None:
            with looking.at_path(object_id, self.path) as found:
                name = self.path.rstrip("/").rpartition("/")[2]
                yield _Shown(_TAR if found.is_tar else f".{name}", found.pieces)
        else:
            form = self.asked.form
            suffix = _SUFFIXES.get(form, f".{form.lower()}")
            yield _Shown(suffix, looking.rows(object_id, self.asked))


def main() -> int:
    return pipe.main(__doc__, run, restores=True)


def run(invocation: Invocation) -> Exit:
    args = Args.of(invocation.arguments, host_zone(os.environ))
    invocation.warn()
    jobs = args.search.jobs(invocation)
    jobs = replace(jobs, options={**jobs.options, "definition": args.definition})
    requests, others = args.search.found(invocation, jobs)
    for record in others:
        invocation.count(record)
    with _sink(invocation, args, several=len(requests) > 1) as write:
        looks = looked_at(invocation, jobs, requests, write, args.content)
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
    elif args.lists:
        yield partial(_pour_names, invocation, args)
    elif several:
        _check_redirected("several objects make")
        with tarfile.open(fileobj=_Output(invocation), mode="w|") as tar:
            yield partial(_add_to_tar, args, tar)
    else:
        yield partial(_pour, invocation, args)


def _pour(invocation: Invocation, args: Args, looking: Looking, object_id: ObjectId) -> None:
    with args.shown(looking, object_id) as shown:
        if shown.suffix == _TAR:
            _check_redirected(f"{object_id}: a folder makes")
        for piece in shown.pieces:
            invocation.pour(piece)


def _pour_names(invocation: Invocation, args: Args, looking: Looking, object_id: ObjectId) -> None:
    with args.shown(looking, object_id) as shown:
        if not is_terminal(sys.stdout):
            for line in shown.pieces:
                invocation.pour(line)
            return
        for text in for_people(shown.pieces, args.zone):
            invocation.write(f"{text}\n")


def _check_redirected(what: str) -> None:
    if is_terminal(sys.stdout):
        raise UsageError(
            "cat.terminal",
            f"{what} a tar, which is not for a terminal",
            "redirect it (> some.tar), or name a folder with --dir",
        )


@translated()
def _write_file(args: Args, folder: Path, looking: Looking, object_id: ObjectId) -> None:
    """Write a file of the folder. It has its name only once it is whole."""
    with NamedTemporaryFile(dir=folder, prefix=".unfinished-", delete=False) as file:
        try:
            with args.shown(looking, object_id) as shown:
                file.writelines(shown.pieces)
            file.flush()
            Path(file.name).rename(folder / shown.file_name(object_id))
        except BaseException:
            Path(file.name).unlink()
            raise


@translated()
def _add_to_tar(args: Args, tar: tarfile.TarFile, looking: Looking, object_id: ObjectId) -> None:
    with TemporaryFile() as file:
        with args.shown(looking, object_id) as shown:
            file.writelines(shown.pieces)
        member = tarfile.TarInfo(shown.file_name(object_id))
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
    _check_choice(arguments)
    form, limit = arguments["--format"], arguments["--limit"]
    if limit is not None and not limit.isdecimal():
        raise UsageError("cat.limit", f"{limit!r} is not a number of rows", "write 20, say")
    names = (arguments["--columns"] or "").split(",")
    return Asked(
        form=form,
        columns=tuple(name.strip() for name in names if name.strip()),
        where=arguments["--where"],
        limit=None if limit is None else int(limit),
    )


def _check_choice(arguments: Mapping[str, Any]) -> None:
    """Raise UsageError for options that would be of no effect together."""
    given = [option for option in _INSTEAD if arguments[option]]
    chosen = [option for option in _OF_ROWS if arguments[option]]
    if given and (chosen or arguments["--format"] != Form.CSV):
        raise UsageError(
            "cat.definition" if given == ["--definition"] else "cat.path",
            f"{given[0]} shows no rows",
            "leave out what chooses among them",
        )
    if arguments["--definition"] and len(given) > 1:
        raise UsageError("usage", f"--definition and {given[0]} exclude one another", "give one")
