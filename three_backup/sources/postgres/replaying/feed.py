"""Hands archived WAL to a recovering server: its restore_command waits for files in a spool.

Segments are prepared a few ahead of the server. The spool stays small, however much WAL there is.
"""

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.sources.postgres.replaying.harmless import defuse
from three_backup.sources.postgres.scratch.folder import acting_as
from three_backup.sources.postgres.wal.assembly import Assembly
from three_backup.sources.postgres.wal.names import Segment, timeline_of_history
from three_backup.sources.postgres.wal.timelines import Way

_AHEAD = 6
"""Segments that lie in the spool before the server asks for them."""

_READING = 3
"""Segments that are read from S3 at once."""

_PAUSE = 0.01
_ABSENT, _FAILED, _ASKED = ".absent", "failed", "asked"
_NEW = ".new"
# 1 says that there is no such file; more than 125 ends the recovery.
_SCRIPT = """\
# restore_command: FILE DESTINATION. What is not prepared yet is asked for, and waited for.
spool='{spool}'
[ -e "$spool/$1" ] || : >"$spool/{asked}/$1" || exit 126
until [ -e "$spool/$1" ]; do
    if [ -e "$spool/$1{absent}" ]; then rm "$spool/$1{absent}"; exit 1; fi
    [ -e "$spool/{failed}" ] && exit 126
    [ -d /proc/{process} ] || exit 126
    sleep {pause}
done
exec mv "$spool/$1" "$2"
"""


@dataclass(frozen=True, slots=True)
class Wal:
    """Archived WAL to replay."""

    assembly: Assembly
    way: Way
    histories: Mapping[int, bytes]
    segment_size: int
    end: int  # the position up to which it is without a gap


@dataclass(slots=True)
class Fed:
    """The account of a feed."""

    bytes: int = 0  # of WAL
    defused: list[str] = field(default_factory=list)  # folders of new tablespaces, by their names
    copied: dict[int, int] = field(default_factory=dict)  # databases, and their templates, by oid
    drops: dict[int, int] = field(default_factory=dict)  # DROP DATABASE: position, by transaction
    failure: BackupError | None = None


class Feed(threading.Thread):
    """Prepares what the server asks for, until it is stopped."""

    def __init__(
        self, wal: Wal, folder: Path, user: str | None, advance: Callable[[int], None]
    ) -> None:
        """folder: of the server's user, on the disk of its data directory."""
        super().__init__(name="feed", daemon=True)
        self.fed = Fed()
        self._wal, self._user, self._advance = wal, user, advance
        self._spool, self._script = folder / "spool", folder / "restore_command.sh"
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(_READING)
        self._read: dict[Segment, Future[bytearray | None]] = {}
        self._last: Segment | None = None  # the last one that was prepared
        with acting_as(user):
            (self._spool / _ASKED).mkdir(parents=True, mode=0o700)
            self._script.write_text(self._text())

    @property
    def command(self) -> str:
        """The restore_command of the server."""
        script = shlex.quote(str(self._script)).replace("%", "%%")
        return f"sh {script} %f %p"

    def _text(self) -> str:
        spool = str(self._spool).replace("'", "'\\''")
        return _SCRIPT.format(
            spool=spool,
            asked=_ASKED,
            absent=_ABSENT,
            failed=_FAILED,
            process=os.getpid(),
            pause=_PAUSE,
        )

    def run(self) -> None:
        try:
            while not self._ended.wait(_PAUSE):
                for name in self._asked():
                    self._prepare(name)
                self._keep_ahead()
        except BackupError as error:
            self.fed.failure = error
        except OSError as error:
            self.fed.failure = BackupError(
                "postgres.scratch_disk",
                f"postgres: WAL cannot be written to {self._spool}: {error.strerror}",
                "make room there, or set scratch_dir to a folder with more of it",
            )
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            # A command that still waits ends at once, and with it a server that is to be stopped.
            with suppress(OSError):  # then whoever waits for the server stops it
                self._write(_FAILED, b"")

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _asked(self) -> list[str]:
        with acting_as(self._user):
            found = sorted(entry.name for entry in (self._spool / _ASKED).iterdir())
            for name in found:
                (self._spool / _ASKED / name).unlink()
        return found

    def _prepare(self, name: str) -> None:
        """Prepare a file that the server waits for."""
        timeline = timeline_of_history(name)
        segment = Segment.parse(name, self._wal.segment_size)
        if timeline is not None and timeline in self._wal.histories:
            self._write(name, self._wal.histories[timeline])
        elif segment is None or not self._give(segment):
            self._write(name + _ABSENT, b"")

    def _keep_ahead(self) -> None:
        with acting_as(self._user):
            lying = sum(1 for _ in self._spool.iterdir()) - 1
        if self._last is not None and lying < _AHEAD:
            self._give(self._after(self._last))

    def _give(self, segment: Segment) -> bool:
        """Write the segment into the spool; return whether there is one."""
        content = self._content(segment)
        if content is None:
            return False
        following = self._content(self._after(segment))
        noted = defuse(content, following)
        self.fed.defused += noted.folders
        self.fed.copied.update(noted.copies)
        self.fed.drops.update((xid, segment.start + at) for xid, at in noted.drops)
        self._write(segment.name(self._wal.segment_size), content)
        self._last = segment
        self.fed.bytes += len(content)
        self._advance(len(content))
        return True

    def _content(self, segment: Segment) -> bytearray | None:
        """Return the segment, which is read but once; begin to read those that follow."""
        soon = [segment, *self._following(segment)]
        self._read = {
            wanted: self._read.get(wanted) or self._pool.submit(self._assembled, wanted)
            for wanted in soon
        }
        return self._read[segment].result()

    def _assembled(self, segment: Segment) -> bytearray | None:
        return self._wal.assembly.segment(segment, self._wal.end)

    def _following(self, segment: Segment) -> Iterator[Segment]:
        for _ in range(_READING):
            segment = self._after(segment)
            yield segment

    def _after(self, segment: Segment) -> Segment:
        """Return the segment that a server on this way asks for next."""
        start = segment.start + self._wal.segment_size
        return Segment(self._wal.way.at(start + self._wal.segment_size - 1), start)

    def _write(self, name: str, content: bytes | bytearray) -> None:
        """Make the file at once whole, with holes for zeros."""
        disk = os.statvfs(self._spool)
        if disk.f_bavail * disk.f_frsize < len(content) * _AHEAD:
            raise BackupError(
                "postgres.scratch_disk",
                f"postgres: the disk of {self._spool.parent} is nearly full: the replay of WAL "
                "stops before it fills it",
                "make room there, or set scratch_dir to a folder with more of it",
            )
        new = self._spool / (name + _NEW)
        with acting_as(self._user):
            with new.open("wb") as file:
                file.write(content.rstrip(b"\0"))
                file.truncate(len(content))
            new.rename(self._spool / name)
