"""A trace of what runs do: in systemd's journal, else in syslog, and in a file if one is named.

It is for looking back only: what cannot be written is lost, and neither fails nor delays a run.
"""

import fcntl
import json
import os
import socket
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Protocol, Self

from three_backup.errors import readable
from three_backup.model.local_time import spoken

VARIABLE = "THREE_BACKUP_TRACE"
JOURNAL, SYSLOG = Path("/run/systemd/journal/socket"), Path("/dev/log")
_IDENTIFIER = "tb-run"
_FACILITY = 3 << 3  # of daemons
_PATIENCE = 0.5
"""Seconds that one entry may take; after that nothing more is sent there."""
_LONGEST = 8000  # bytes of an entry for syslog
# A named pipe that nobody reads must not stop us.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Priority(IntEnum):
    """How much an entry matters, as syslog counts."""

    ERROR = 3
    WARNING = 4
    INFO = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened in a run. Empty texts are not told."""

    message: str
    priority: Priority = Priority.INFO
    object: str = ""  # an id, or a carrier
    code: str = ""  # of an error
    stage: str = ""  # the tool
    run: str = ""  # a name that all entries of the run share


@dataclass(frozen=True, slots=True)
class Places:
    """Where entries go: to the first socket that is there, and to the file if there is one."""

    journal: Path = JOURNAL
    syslog: Path = SYSLOG
    file: Path | None = None

    def sinks(self, clock: Callable[[], datetime]) -> list["Sink"]:
        found: list[Sink] = []
        if self.journal.is_socket():
            found.append(_Journal(_Socket(self.journal)))
        elif self.syslog.is_socket():
            found.append(_Syslog(_Socket(self.syslog)))
        if self.file is not None:
            found.append(_File(self.file, clock))
        return found


class Sink(Protocol):
    """A place that takes entries."""

    def write(self, entry: Entry) -> None:
        """Write the entry. Raises OSError."""
        ...


class Trace:
    """Writes the entries of one tool of a run."""

    def __init__(
        self,
        places: Places | None,
        run: str = "",
        stage: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """places: None, where no run is at work, writes nothing."""
        self._places, self._run, self._stage = places, run, stage
        self._sinks: Sequence[Sink] = places.sinks(clock) if places else ()

    @classmethod
    def of(cls, environ: Mapping[str, str], stage: str) -> Self:
        """Return that of a stage with this environment; outside of a run it writes nothing."""
        try:
            fields = json.loads(environ[VARIABLE])
            file = fields["file"]
            places = Places(
                Path(fields["journal"]), Path(fields["syslog"]), Path(file) if file else None
            )
            return cls(places, str(fields["run"]), stage)
        except (KeyError, ValueError, TypeError):
            return cls(None)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which stages write to the same places."""
        places = self._places
        if places is None:
            return {}
        fields = {
            "run": self._run,
            "journal": str(places.journal),
            "syslog": str(places.syslog),
            "file": str(places.file or ""),
        }
        return {VARIABLE: json.dumps(fields)}

    def write(
        self,
        message: str,
        priority: Priority = Priority.INFO,
        *,
        about: str = "",
        code: str = "",
        stage: str = "",
    ) -> None:
        """Write an entry wherever that can be done. stage: another tool than the trace's own."""
        entry = Entry(readable(message), priority, about, code, stage or self._stage, self._run)
        for sink in self._sinks:
            with suppress(OSError):
                sink.write(entry)


class _Socket:
    """A datagram socket for which nobody waits twice."""

    def __init__(self, path: Path) -> None:
        self._path, self._hangs = str(path), False

    def send(self, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        if self._hangs:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.settimeout(_PATIENCE)
            try:
                ours.sendmsg([payload], _passing(descriptors), 0, self._path)
            except TimeoutError:
                self._hangs = True


@dataclass(frozen=True, slots=True)
class _Journal:
    """The journal, by its native protocol."""

    socket: _Socket

    def write(self, entry: Entry) -> None:
        fields = {
            "MESSAGE": entry.message,
            "PRIORITY": str(int(entry.priority)),
            "SYSLOG_IDENTIFIER": _IDENTIFIER,
            "OBJECT": entry.object,
            "CODE": entry.code,
            "STAGE": entry.stage,
            "RUN": entry.run,
        }
        payload = b"".join(_field(name, text) for name, text in fields.items() if text)
        try:
            self.socket.send(payload)
        except OSError:  # too long for a datagram: it goes by a file that nobody can change
            descriptor = os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.write(descriptor, payload)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
                self.socket.send(b"", (descriptor,))
            finally:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Syslog:
    socket: _Socket

    def write(self, entry: Entry) -> None:
        head = f"<{_FACILITY + entry.priority}>{_IDENTIFIER}[{os.getpid()}]: "
        self.socket.send((head + _line(entry)).encode("utf-8", "backslashreplace")[:_LONGEST])


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    clock: Callable[[], datetime]

    def write(self, entry: Entry) -> None:
        """Append a line; the file is opened each time, since logrotate may have moved it."""
        time = spoken(self.clock().replace(microsecond=0).astimezone())
        line = f"{time} {entry.priority.name.lower()} {_line(entry)}\n"
        descriptor = os.open(self.path, _APPEND, 0o600)
        try:
            os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)


def _passing(descriptors: Sequence[int]) -> list[tuple[int, int, "array[int]"]]:
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]


def _field(name: str, text: str) -> bytes:
    value = text.encode("utf-8", "backslashreplace")
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)


def _line(entry: Entry) -> str:
    """Return the entry as one line of text."""
    about = "" if entry.message.startswith(entry.object) else f"{entry.object}: "
    code = f" ({entry.code})" if entry.code else ""
    return f"{entry.stage}: {about}{' '.join(entry.message.split())}{code}"
