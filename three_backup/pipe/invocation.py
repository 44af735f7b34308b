"""One run of a tool: its configuration, its storages, and its records in and out."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from three_backup import __version__
from three_backup.catalog.catalog import Catalog
from three_backup.config import Configuration, environment_file, load
from three_backup.errors import BackupError, Exit, UsageError, readable
from three_backup.host import patience, signals
from three_backup.host.machine import host_id
from three_backup.host.trace import Priority, Trace
from three_backup.model.records import Record, malformed_line
from three_backup.model.schedule import host_zone
from three_backup.model.storage import Storage
from three_backup.pipe.arguments import moment_to_read, prefix_to_read, when
from three_backup.pipe.beside import asked, beside
from three_backup.pipe.failures import translated
from three_backup.pipe.origin import Origin
from three_backup.pipe.repeated import Repeated
from three_backup.pipe.speech import complain, line_start
from three_backup.pipe.tally import Tally
from three_backup.pipe.view import View
from three_backup.s3 import throttle
from three_backup.screen.progress import Transfer, bar
from three_backup.screen.terminal import Screen, columns, is_coloured, is_terminal

PROGRAM = f"three_backup {__version__}"
"""The program that manifests name as their author."""

_EARLY = "stopped before the end; until then:\n\n"
_PIECE = 1 << 16
_LINGERING = 0.1
"""Seconds. Flushed one by one, ten thousand records that need nothing cost each tool double."""


class Invocation:
    """One run of a tool: its arguments, and where its records and sentences go."""

    def __init__(self, name: str, arguments: Mapping[str, Any], *, restores: bool = False) -> None:
        """restores: log in at the servers as a user who may restore, where one is configured."""
        self.name = name
        self._restores = restores
        self.arguments = arguments  # for the Args of the tool; what tools share is read here
        self.config = _path(arguments.get("--config"))
        self.env_file = _path(arguments.get("--env-file"))
        self.patterns = tuple(map(readable, arguments.get("--select") or ()))
        self.store: str | None = arguments.get("--store")  # the further store to read
        self.progress = when(arguments)
        self.json = bool(arguments.get("--json"))
        self._catalogs: dict[Storage, Catalog] = {}
        self._said: set[str] = set()
        # As a stage of tb-run: what is held back from standard error, and where all is traced.
        self.repeated, self.trace = Repeated.of(os.environ), Trace.of(os.environ, name)
        self._tally = Tally()
        self._started = self._passed_on = time.monotonic()
        self._view: View | None = None
        self._is_watched = False  # the view is shown in place of the records

    @cached_property
    def configuration(self) -> Configuration:
        """The configuration, loaded at first use, with its .env put into our environment."""
        configuration = load(self.config, os.environ)
        given = environment_file(configuration, self.env_file, os.environ, restores=self._restores)
        os.environ.update(given)
        patience.configure(
            lambda source: configuration.source_settings(source).server_timeout.total_seconds()
        )
        if limit := configuration.run.bandwidth_limit:
            throttle.configure(limit, self.clock, host_zone(os.environ))
        return configuration

    @cached_property
    def origin(self) -> Origin:
        """What is read; the configuration's mistakes are told before its."""
        moment = moment_to_read(self.arguments, self.clock())
        return Origin(prefix_to_read(self.arguments), self.store, moment)

    def warn(self) -> None:
        """Say the warnings about the configuration: only tools that head a pipeline do."""
        for warning in self.configuration.warnings:
            self.say(warning)

    @staticmethod
    def clock() -> datetime:
        return datetime.now(UTC)

    @property
    def host(self) -> str:
        """The name of this host, for manifests."""
        return os.uname().nodename

    @property
    def host_id(self) -> str:
        """The id that tells this host from any other that might write to the same prefix."""
        return host_id()

    def catalog(self, storage: Storage) -> Catalog:
        """Return the catalog of a storage, or of what shall be read instead; each is made once."""
        if self.store is not None:
            storage = asked(self.configuration, self.store, storage)
        storage = self.origin.of(storage)
        others = beside(self.configuration, self.arguments, storage, restores=self._restores)
        return self._catalog(storage, map(self._catalog, others))

    def copies(self, store: str, storage: Storage) -> Catalog:
        """Return the catalog of the copies of a storage in a further store, to write to it."""
        return self._catalog(self.configuration.copies(store, storage))

    def _catalog(self, storage: Storage, beside: Iterable[Catalog] = ()) -> Catalog:
        if storage not in self._catalogs:
            given, others = self.arguments.get, list(beside)
            adopt, unsigned = bool(given("--adopt")), bool(given("--unsigned") or given("--sign"))
            catalog = Catalog(storage, self.say, others, adopt=adopt, unsigned=unsigned)
            self._catalogs[storage] = catalog
        return self._catalogs[storage]

    @property
    def width(self) -> int | None:
        """How many characters fit a line of standard output; None where nobody looks on."""
        return columns(sys.stdout, os.environ)

    def bar(self, label: str, total: int | None) -> AbstractContextManager[Transfer]:
        """Return a progress bar, drawn or not as --progress says."""
        return bar(label, total, self.progress)

    @property
    def coloured(self) -> bool:
        return is_coloured(sys.stdout, os.environ)

    @property
    def catalogs(self) -> list[Catalog]:
        """The catalogs of every storage that the configuration names."""
        return list(dict.fromkeys(map(self.catalog, self.configuration.storages())))

    @property
    def is_piped(self) -> bool:
        """Whether records are fed in: a terminal, and cron's /dev/null, feed none."""
        if sys.stdin is None:
            return False
        mode = os.fstat(sys.stdin.fileno()).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)

    def records(self) -> Iterator[Record]:
        """Yield the records on standard input; a malformed line yields one with its error."""
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "input.terminal",
                "records are read from standard input, not from a terminal",
                f"pipe them in: tb-discover | {self.name}",
            )
        for number, line in enumerate(_lines(cast(BufferedReader, sys.stdin.buffer)), 1):
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
        """Return the record, failed if it names no object or a prefix that we may not read."""
        if record.failed:
            return record
        try:
            self.origin.check(record, self.name)
        except BackupError as error:
            return self.fail(record, error)
        return record

    def each(self, act: Callable[[Record], Record]) -> None:
        """Pass every record through act and emit it; a record that fails is emitted, too.

        A record that failed before, or whose object cannot be backed up, is only copied.
        """
        for record in self.records():
            idle = record.failed or record.unsupported
            self.emit(record if idle else self.attempt(record, act))

    def attempt(self, record: Record, act: Callable[[Record], Record]) -> Record:
        """Run act on a record; what it raises becomes the record's error."""
        try:
            with translated():
                return act(record)
        except BackupError as error:
            signals.obey()  # it may have replaced what a signal raised
            return self.fail(record, error)

    def fail(self, record: Record, error: BackupError) -> Record:
        """Return the record with the error, which is said once however many records share it."""
        named = record.is_named_in(error.message)
        sentence = str(error) if named else f"{record.carrier}: {error}"
        self._say(sentence, Priority.ERROR, about=record.carrier, code=error.code)
        self._tally.fail(error)
        return record.with_error(self.name, error)

    def present(self, view: View, *, beside: bool = False, always: bool = False) -> None:
        """Show people the view once all records are emitted.

        On a terminal, or always, it takes the place of the records, unless --json asks for these.
        beside: where records are printed, it goes to standard error.
        """
        self._is_watched = (always or is_terminal(sys.stdout)) and not self.json
        self._view = view if self._is_watched or beside else None

    def conclude(self, *, early: bool = False) -> None:
        """Show the view, if one is presented, once. early: the tool is stopped before its end."""
        view, self._view = self._view, None
        if view is None or (early and not (self._is_watched and self._tally.records)):
            return
        seconds = time.monotonic() - self._started
        if self._is_watched:
            text = view.text(seconds, Screen(self.width, self.coloured))
            self.write(f"{line_start(sys.stdout)}{_EARLY if early else ''}{text}")
        else:
            self.show(view.text(seconds, Screen()))

    def emit(self, record: Record) -> None:
        """Count the record and pass it on.

        At once, unless nothing is left to do for it and the last one went a moment ago: then at
        the latest before the next one is waited for.
        """
        self.count(record)
        if self._view is not None:
            self._view.add(record)
        if self._is_watched:
            return
        sys.stdout.write(record.to_line())
        now, urgent = time.monotonic(), record.failed or record.todo or not record.planned
        if urgent or now - self._passed_on > _LINGERING:
            sys.stdout.flush()
            self._passed_on = now

    def count(self, record: Record) -> None:
        """Count the record for the exit status; emit does so itself."""
        self._tally.count(record)

    def write(self, text: str) -> None:
        """Write to standard output: records, or the table and summary of tools for people."""
        sys.stdout.write(readable(text))
        sys.stdout.flush()

    @staticmethod
    def show(text: str) -> None:
        """Write text for people to standard error, where standard output is for records."""
        complain(text.rstrip("\n"))

    def pour(self, piece: bytes) -> int:
        """Write bytes to standard output as they are: rows, or a file."""
        return sys.stdout.buffer.write(piece)

    def say(self, sentence: str) -> None:
        """Write a sentence for people to standard error, each one only once."""
        self._say(sentence, Priority.WARNING)

    def _say(self, sentence: str, priority: Priority, *, about: str = "", code: str = "") -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.trace.write(sentence, priority, about=about, code=code)
            line = f"{self.name}: {sentence}"
            if not self.repeated.holds(line):
                complain(line)

    @property
    def status(self) -> Exit:
        """The exit status that follows from the counted records."""
        return self._tally.status


def _lines(stdin: BufferedReader) -> Iterator[bytes]:
    """Yield the lines of stdin; flush standard output before waiting for more of them."""
    begun: list[bytes] = []
    while piece := stdin.read1(_PIECE):
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            *whole, rest = others
            yield from whole
            begun = [rest]
        sys.stdout.flush()
    yield b"".join(begun)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
