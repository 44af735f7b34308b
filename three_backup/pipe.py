"""The runtime of every tool: arguments, records in and out, failures, signals, exit status."""

import errno
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NoReturn, TypeVar

import docopt

from three_backup import __version__
from three_backup.catalog import Catalog
from three_backup.config import Configuration, environment_file, load
from three_backup.config.options import OPTIONS
from three_backup.errors import BackupError, ConfigurationError, Exit, UnreachableError, UsageError
from three_backup.host import machine_id
from three_backup.objects import ObjectId
from three_backup.progress import Transfer, When, bar
from three_backup.records import Record, malformed_line
from three_backup.storage import Storage
from three_backup.terminal import columns, is_coloured

PROGRAM = f"three_backup {__version__}"

Outcome = TypeVar("Outcome")

_ROOM = "make room there, or name another folder with local_dir or scratch_dir"

# docopt-ng names what it could not match in the notation of its own classes.
_UNMATCHED = re.compile(r"(?:Option|Argument)\((?:None|'[^']*'), '([^']*)'")


class StoppedError(BaseException):
    """SIGTERM came; everything is unwound as for Ctrl-C."""


class Invocation:
    """One run of a tool: what it was asked, and the way its records and sentences take."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.arguments = arguments
        self._progress = _when(arguments)
        self._catalogs: dict[Storage, Catalog] = {}
        self._said: set[str] = set()
        self._good = 0
        self._failed = 0
        self._unreachable = 0
        self._misconfigured = 0

    @cached_property
    def configuration(self) -> Configuration:
        """Loaded at first use, with the variables of its .env put into the environment."""
        environment = self.arguments.get("--env-file")
        configuration = load(_path(self.arguments.get("--config")), os.environ)
        os.environ.update(environment_file(configuration, _path(environment), os.environ))
        return configuration

    def warn(self) -> None:
        """Say what the configuration is to be warned of: only tools that head a pipeline do."""
        for warning in self.configuration.warnings:
            self.say(warning)

    @staticmethod
    def clock() -> datetime:
        return datetime.now(UTC)

    @property
    def host(self) -> str:
        """The name of this host, for manifests."""
        return platform.node()

    @property
    def host_id(self) -> str:
        """What tells this host from any other that might write to the same prefix."""
        return machine_id() or self.host

    def catalog(self, storage: Storage) -> Catalog:
        """The catalog of a storage, or of the prefix to read instead; the same one each time."""
        prefix = self._prefix
        if prefix is not None:
            storage = storage.of_another_host(prefix)
        if storage not in self._catalogs:
            self._catalogs[storage] = Catalog(storage, self.say)
        return self._catalogs[storage]

    @property
    def width(self) -> int | None:
        """Of the terminal at standard output; None where nobody looks on."""
        return columns(sys.stdout, os.environ)

    def bar(self, label: str, total: int | None) -> AbstractContextManager[Transfer]:
        """Progress, drawn or not as --progress says."""
        return bar(label, total, self._progress)

    @property
    def coloured(self) -> bool:
        return is_coloured(sys.stdout, os.environ)

    @property
    def catalogs(self) -> list[Catalog]:
        """Of every storage that the configuration names."""
        found = (self.catalog(storage) for storage in self.configuration.storages())
        return list(dict.fromkeys(found))

    @property
    def _prefix(self) -> str | None:
        """Of the other host whose snapshots shall be read."""
        given = self.arguments.get("--s3-prefix")
        try:
            return None if given is None else str(OPTIONS["s3_prefix"].convert(given))
        except ValueError as error:
            raise UsageError("usage", f"--s3-prefix: {error}", "see tb-list(1)") from error

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(self.arguments.get("--select") or ())

    def records(self) -> Iterator[Record]:
        """The records on standard input; a malformed line is one that carries its error."""
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "input.terminal",
                "records are read from standard input, not from a terminal",
                f"pipe them in: tb-discover | {self.name}",
            )
        for number, line in enumerate(sys.stdin.buffer, 1):
            if not line.strip():
                continue
            try:
                yield self._taken(Record.parse(line))
            except BackupError as error:
                numbered = type(error)(
                    error.code, f"input line {number}: {error.message}", error.hint
                )
                self.say(str(numbered))
                yield malformed_line(self.name, number, numbered)

    def _taken(self, record: Record) -> Record:
        """It has failed where it is of no object, or of the prefix of a host that we were not told
        to read."""
        if record.failed:
            return record
        try:
            self._check_prefix(record.object, record.fields.get("s3_prefix"))
        except BackupError as error:
            return self.fail(record, error)
        return record

    def _check_prefix(self, object_id: ObjectId, prefix: object) -> None:
        if prefix not in (None, self._prefix):
            raise BackupError(
                "input.foreign",
                f"{object_id}: the record is of prefix {prefix}, which another host writes",
                f"restore it with tb-restore --s3-prefix {shlex.quote(str(prefix))}",
            )

    def each(self, act: Callable[[Record], Record]) -> None:
        """Every record through act. One that failed before is copied, and one whose object cannot
        be backed up; one that fails flows on."""
        for record in self.records():
            idle = record.failed or record.unsupported
            self.emit(record if idle else self.attempt(record, act))

    def attempt(self, record: Record, act: Callable[[Record], Record]) -> Record:
        """The per-record boundary: what act raises becomes the record's error."""
        try:
            return act(record)
        except BackupError as error:
            return self.fail(record, error)
        except OSError as error:
            return self.fail(record, translated(error))

    def fail(self, record: Record, error: BackupError) -> Record:
        """The record with the error, which is said once however many records share it."""
        self.say(str(error) if record.is_named_in(error.message) else f"{record.carrier}: {error}")
        self._unreachable += isinstance(error, UnreachableError)
        self._misconfigured += isinstance(error, ConfigurationError)
        return record.with_error(self.name, error)

    def emit(self, record: Record) -> None:
        self.count(record)
        self.write(record.to_line())

    def count(self, record: Record) -> None:
        """Have the record decide on the exit status, as every record does that is emitted."""
        if record.failed:
            self._failed += 1
        else:
            self._good += 1

    def write(self, text: str) -> None:
        """Text for standard output: records, or the table and summary of tools for people."""
        sys.stdout.write(text)
        sys.stdout.flush()

    @staticmethod
    def show(text: str) -> None:
        """Text for the person at standard error, where standard output is for records."""
        complain(text.rstrip("\n"))

    def say(self, sentence: str) -> None:
        """A sentence for the person at standard error, once."""
        if sentence not in self._said:
            self._said.add(sentence)
            complain(f"{self.name}: {sentence}")

    @property
    def status(self) -> Exit:
        if self._failed == 0:
            return Exit.OK
        if self._misconfigured:
            return Exit.CONFIGURATION
        return Exit.UNREACHABLE if self._all_unreachable else Exit.FAILED

    @property
    def _all_unreachable(self) -> bool:
        return self._good == 0 and self._unreachable == self._failed


class Once(Generic[Outcome]):
    """What is done once for all records of a carrier; a failure, too, is everybody's."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome | BackupError] = {}

    def of(self, carrier: str, act: Callable[[], Outcome]) -> Outcome:
        if carrier not in self._outcomes:
            try:
                self._outcomes[carrier] = act()
            except BackupError as error:
                self._outcomes[carrier] = error
            except OSError as error:
                self._outcomes[carrier] = translated(error)
        outcome = self._outcomes[carrier]
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome


def main(
    usage: str,
    run: Callable[[Invocation], int | None],
    argv: list[str] | None = None,
    unable: Callable[[str, BackupError], int] | None = None,
) -> int:
    """Run a tool: usage is its `--help`, the first word of it its name.

    run may return an exit status of its own; otherwise the records that passed decide. unable:
    says of a tool of this name why it cannot do its work, and returns the exit status; without it
    that is said on standard error.
    """
    os.umask(0o077)
    name = usage.split(maxsplit=1)[0]
    try:
        signal.signal(signal.SIGTERM, _stop)
        _require_output()
        _speak_utf8()
        invocation = Invocation(name, _arguments(usage, name, argv))
        if "--config" in invocation.arguments:
            _ = invocation.configuration  # its mistakes are told whatever comes in
        status = run(invocation)
        sys.stdout.flush()
        return int(invocation.status if status is None else status)
    except BackupError as error:
        return (unable or _complained)(name, error)
    except BrokenPipeError:
        return int(_silenced(Exit.CLOSED_PIPE))
    except KeyboardInterrupt:
        return int(_silenced(Exit.INTERRUPTED))
    except StoppedError:
        return int(_silenced(Exit.TERMINATED))
    except OSError as error:
        status = (unable or _complained)(name, translated(error))
        _silenced(Exit.FAILED)
        return status


def _complained(name: str, error: BackupError) -> int:
    complain(f"{name}: {error}")
    return int(error.status)


def complain(line: str) -> None:
    """A line on standard error; nobody may be listening there any more."""
    with suppress(OSError, ValueError):
        # A bar, of this tool or of another one in the pipe, may stand in the line.
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{clear}{line}", file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """A line on standard output, of a tool that could not begin."""
    with suppress(OSError, ValueError):
        print(line, flush=True)


def translated(error: OSError) -> BackupError:
    """What the operating system refused, as a sentence."""
    what = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    hint = _ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return BackupError(f"os.{type(error).__name__}", f"{where}{what.lower()}", hint)


def _arguments(usage: str, name: str, argv: list[str] | None) -> Mapping[str, Any]:
    try:
        return docopt.docopt(usage, argv, version=f"{name} {__version__}")
    except docopt.DocoptExit as error:
        words = " ".join(_UNMATCHED.findall(str(error)))
        sentence = f"cannot make sense of {words}" if words else "something is missing"
        raise UsageError("usage", sentence, f"see {name} --help") from error


def _when(arguments: Mapping[str, Any]) -> When:
    """When bars are drawn, of a tool that has any."""
    when = arguments.get("--progress") or When.AUTO
    if when not in tuple(When):
        raise UsageError("usage", f"--progress {when} is not known", "say auto, always or never")
    return When(when)


def _require_output() -> None:
    """Where standard output is closed, the next file that is opened would take its place."""
    if sys.stdout is None:
        raise UsageError(
            "output.closed", "standard output is closed", "send it to /dev/null instead"
        )


def _speak_utf8() -> None:
    """Records are UTF-8 in any locale; what is none becomes `\\udc80`, which JSON knows, too."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _stop(signal_: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal_, signal.SIG_IGN)  # a second one must not cut the unwinding short
    raise StoppedError


def _silenced(status: Exit) -> Exit:
    """Nothing more can be written: keep the interpreter's own last flush from complaining."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return status


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
