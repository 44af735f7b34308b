"""Has a scratch server replay archived WAL up to a moment, and tells which one it reached."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from three_backup.errors import BackupError, SilentError
from three_backup.host.patience import Pulse, Silence
from three_backup.model.local_time import spoken
from three_backup.model.snapshots import exactly
from three_backup.sources.postgres.replaying.feed import Feed, Wal
from three_backup.sources.postgres.replaying.scan import Scanner
from three_backup.sources.postgres.scratch.folder import acting_as, stop_server
from three_backup.sources.postgres.scratch.server import ScratchServer, end_of_log, start
from three_backup.sources.postgres.scratch.settings import lines_of

_READY = "ready"
_STATUS_LINE = 7
_LOOK = 0.02
_BLOCK = 512  # bytes of what st_blocks counts
_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_TOO_EARLY = "requested recovery stop point is before consistent recovery point"
_COMMITTED = re.compile(rb"last completed transaction was at log time (\S+ \S+)")
_STOPPED = re.compile(rb"recovery stopping before commit of transaction (\d+)")
_REDONE = re.compile(rb"redo done at ([0-9A-F]+/[0-9A-F]+)")
# Nobody may log in while WAL is replayed: with hot_standby, recovery would ask for as many
# connections as the source has. What the source allows now may be more than at the snapshot.
_SETTINGS = {
    "hot_standby": "off",
    "recovery_target_action": "promote",
    "max_wal_size": "64MB",
    "checkpoint_timeout": "1h",
    "wal_level": "replica",
}
_PREPARED = 1000


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of a replay."""

    target: Mapping[str, str]  # recovery_target_*; empty: at the end of the WAL
    open_end: bool = False  # where WAL ends before the target, what it brought is taken
    complete: bool = True  # then it is known to hold all that was committed until the target
    zone: tzinfo = UTC  # in which it is spoken of


@dataclass(frozen=True, slots=True)
class Reached:
    """The moment that a replay reached."""

    # The last transaction, in the time zone of the wanted moment; None: WAL brought none.
    committed: datetime | None
    lsn: str | None  # the last position that was redone
    is_short: bool  # WAL ended before the wanted moment, of which something may be missing
    wal_bytes: int
    seconds: float  # that the replay took
    scratch_bytes: int  # of the data directory after it
    defused: tuple[str, ...]  # the folders of tablespaces that were made inside
    copied: Mapping[int, int]  # databases that were copied as files, and their templates, by oid
    # Where a DROP DATABASE began that was replayed though it committed after the moment only, if
    # nothing else committed in between; else None.
    too_far: int | None

    @property
    def notes(self) -> Iterator[str]:
        """Yield sentences for people."""
        if self.is_short:
            last = "none after it" if self.committed is None else spoken(self.committed)
            yield f"the archived WAL ends before that moment: its last transaction is {last}"
        for folder in self.defused:
            yield f"the tablespace in {folder}, made after the snapshot, lies inside of pg_tblspc"

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the record of a restored object says."""
        return {
            "committed": self.committed and exactly(self.committed),
            "lsn": self.lsn,
            "wal_bytes": self.wal_bytes,
            "seconds": round(self.seconds, 3),
            "scratch_bytes": self.scratch_bytes,
        }


class Replay:
    """The replay of WAL on one data directory."""

    def __init__(self, wal: Wal, stop: Stop, advance: Callable[[int], None]) -> None:
        self._wal, self._stop, self._advance = wal, stop, advance
        self._reached: Reached | None = None  # known once recover() has returned

    def recover(self, server: ScratchServer, user: str | None) -> None:
        """Start the server and wait until it has replayed WAL up to the moment.

        Raises BackupError if the moment lies before the snapshot's end, or was not reached.
        """
        began = time.monotonic()
        with _feeding(self._wal, server.log.parent, user, self._advance) as feed:
            at_end = not self._stop.target
            try:
                self._run(server, user, feed, self._stop.target)
            except _EndedEarlyError:
                if not self._stop.open_end:
                    raise
                at_end = True
                self._run(server, user, feed, {})
            is_short = at_end and not self._stop.complete
            seconds = time.monotonic() - began
            too_far = self._drop_on_the_way(server, user, feed)
            self._reached = _reached(
                server, feed, seconds, too_far, self._stop.zone, is_short=is_short
            )

    def _drop_on_the_way(self, server: ScratchServer, user: str | None, feed: Feed) -> int | None:
        """Return where the DROP DATABASE began before whose commit the replay stopped.

        PostgreSQL removes the files before it commits, and a time stops recovery at commits only.
        """
        stopped = _STOPPED.findall(server.log.read_bytes())
        drop = feed.fed.drops.get(int(stopped[-1])) if stopped else None
        if drop is None:
            return None
        folder = server.log.with_name("scan")
        with acting_as(user):
            folder.mkdir(mode=0o700)
        wal = self._wal
        scanner = Scanner(wal.assembly, wal.way, wal.segment_size, folder, user, server.binaries)
        return scanner.beginning_of_drop(drop)

    def told(self, *, exact: bool) -> Reached:
        """Return the moment that recover() reached.

        exact: raise BackupError if something of the wanted one may be missing.
        """
        if self._reached is None:
            raise ValueError("nothing was replayed yet")
        if exact and self._reached.is_short:
            raise BackupError(
                "restore.not_exact",
                f"postgres: {next(self._reached.notes)}",
                "tb-list --snapshots tells which moments WAL covers; without --exact the nearest "
                "one comes back",
            )
        return self._reached

    def _run(
        self, server: ScratchServer, user: str | None, feed: Feed, target: Mapping[str, str]
    ) -> None:
        settings = {
            **_SETTINGS,
            **target,
            "recovery_target_timeline": str(self._wal.way.timeline),
            "restore_command": feed.command,
            "max_wal_size": f"{max(64, 4 * self._wal.segment_size >> 20)}MB",
            "max_prepared_transactions": str(_PREPARED),
        }
        with acting_as(user):
            _replace_settings(server.pgdata / "postgresql.conf", settings)
            (server.pgdata / "recovery.signal").touch(mode=0o600)
        try:
            start(server, user)
        except SilentError:
            raise
        except BackupError as error:
            raise feed.fed.failure or _explained(error) from error
        _await_ready(server, user, feed)


class _EndedEarlyError(BackupError):
    """WAL ended before the target."""


@contextmanager
def _feeding(
    wal: Wal, folder: Path, user: str | None, advance: Callable[[int], None]
) -> Iterator[Feed]:
    feed = Feed(wal, folder, user, advance)
    feed.start()
    try:
        yield feed
    finally:
        feed.stop()


def _replace_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Append the settings, in place of those of an earlier attempt."""
    mark = "# The replay of archived WAL:\n"
    kept = path.read_bytes().partition(mark.encode())[0]
    path.write_bytes(kept + "".join([mark, *lines_of(settings)]).encode())


def _await_ready(server: ScratchServer, user: str | None, feed: Feed) -> None:
    def ask() -> Pulse:
        return Pulse((feed.fed.bytes, server.log.stat().st_size))

    silence = Silence("the scratch server, which replays WAL,", "postgres", "replay", ask)
    while (status := _status(server.pgdata)) != _READY:
        if feed.fed.failure is not None:
            stop_server(server.pgdata)
            raise feed.fed.failure
        if status is None:
            said = end_of_log(server.log, user)
            raise _explained(BackupError("postgres.replay", f"postgres: the replay ended: {said}"))
        silence.check()
        time.sleep(_LOOK)


def _status(pgdata: Path) -> str | None:
    """Return what the server says of itself; None if it does not run any more."""
    with suppress(FileNotFoundError):
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        return lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else ""
    return None


def _explained(error: BackupError) -> BackupError:
    if _ENDED_EARLY in error.message:
        return _EndedEarlyError(
            "postgres.moment_not_reached",
            "postgres: the archived WAL ends before that moment",
            "tb-list --snapshots tells which moments it covers",
        )
    if _TOO_EARLY in error.message:
        return BackupError(
            "postgres.moment_too_early",
            "postgres: the moment lies before the end of the snapshot from which it is replayed",
            "restore that snapshot (--snapshot), or give a later moment",
        )
    return error


def _reached(
    server: ScratchServer,
    feed: Feed,
    seconds: float,
    too_far: int | None,
    zone: tzinfo,
    *,
    is_short: bool,
) -> Reached:
    said = server.log.read_bytes()
    committed, redone = _COMMITTED.findall(said), _REDONE.findall(said)
    last = datetime.fromisoformat(committed[-1].decode()).astimezone(zone) if committed else None
    return Reached(
        committed=last,
        lsn=redone[-1].decode() if redone else None,
        is_short=is_short,
        wal_bytes=feed.fed.bytes,
        seconds=seconds,
        scratch_bytes=_on_disk(server.pgdata),
        defused=tuple(feed.fed.defused),
        copied=feed.fed.copied,
        too_far=too_far,
    )


def _on_disk(folder: Path) -> int:
    """Return the bytes on disk of the files in the folder; a server may remove some meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_blocks * _BLOCK
    return total
