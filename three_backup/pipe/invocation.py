"""One run of a tool: its configuration, its storages, and its records from line to line."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from three_backup import __version__
from three_backup.catalog.catalog import Catalog
from three_backup.config import Configuration, environment_file, load
from three_backup.errors import BackupError, Exit, UsageError
from three_backup.host.machine import machine_id
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record, malformed_line
from three_backup.model.storage import Storage
from three_backup.pipe.arguments import prefix_to_read, when
from three_backup.pipe.failures import translated
from three_backup.pipe.speech import complain
from three_backup.pipe.tally import Tally
from three_backup.screen.progress import Transfer, bar
from three_backup.screen.terminal import columns, is_coloured

PROGRAM = f"three_backup {__version__}"
"""What manifests name as their author."""

_PIECE = 1 << 16
_LINGERING = 0.1
"""Seconds. Ten thousand records that need nothing cost each tool twice as much one by one."""


class Invocation:
    """One run of a tool: what it was asked, and the way its records and sentences take."""

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.name = name
        self.arguments = arguments
        self._progress = when(arguments)
        self._catalogs: dict[Storage, Catalog] = {}
        self._said: set[str] = set()
        self._tally = Tally()
        self._passed_on = time.monotonic()

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
        prefix = prefix_to_read(self.arguments)
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
        if prefix not in (None, prefix_to_read(self.arguments)):
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
        self._tally.fail(error)
        return record.with_error(self.name, error)

    def emit(self, record: Record) -> None:
        """Pass the record on: at once, unless nothing is left to do for it and it took no time;
        then at the latest before the next one is waited for."""
        self.count(record)
        sys.stdout.write(record.to_line())
        now, urgent = time.monotonic(), record.failed or record.todo or not record.planned
        if urgent or now - self._passed_on > _LINGERING:
            sys.stdout.flush()
            self._passed_on = now

    def count(self, record: Record) -> None:
        """Have the record decide on the exit status, as every record does that is emitted."""
        self._tally.count(record)

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
        """What the records that were counted come to."""
        return self._tally.status


def _lines(input: BufferedReader) -> Iterator[bytes]:
    """Its lines. What was written to standard output is there before more is waited for."""
    begun: list[bytes] = []
    while piece := input.read1(_PIECE):
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
