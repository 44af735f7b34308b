"""Locks: one run at a time, one tool at a time on a carrier; a dead owner never blocks.

A lock is a flock: the kernel frees it when its last holder ends. The file is never unlinked. Its
content only tells who took the lock; a free lock with old content is normal.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from three_backup.errors import BackupError, BusyError
from three_backup.host.processes import Holder, boot_id, end, holders
from three_backup.model.layout import path as escaped
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import rfc3339

_FOLDER = "locks"
_RUN = "run"
_SETTLE = 1.0
"""Seconds within which a process that took a lock has written its claim."""
_ENDING = 5.0
"""Seconds that the kernel may take to clear a killed process away, its locks last."""


class IfRunning(StrEnum):
    """The choice of a new run if another one holds the lock."""

    SKIP = "skip"
    WAIT = "wait"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Takeover:
    """When a new run may kill the one that holds the lock.

    Either kill_after or silent_after must have passed: else a run that is merely slow would be
    killed by the next one that cron starts, for ever.
    """

    if_running: IfRunning = IfRunning.SKIP
    kill_after: timedelta = timedelta(hours=24)  # since the run began
    silent_after: timedelta = timedelta(hours=1)  # since its last heartbeat
    grace: float = 60  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class RunLock:
    """The lock of a run, held while any process has its descriptor open.

    Every tool of the run inherits the descriptor: one that outlives tb-run keeps the next run
    away. The file's modification time is the heartbeat of the run.
    """

    path: Path
    descriptor: int
    since: datetime

    def name(self, members: Iterable[Holder]) -> None:
        """Write into the file which processes make up this run."""
        _write(self.descriptor, Claim(boot_id(), self.since, tuple(members)))

    def beat(self) -> None:
        os.utime(self.descriptor)


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of a lock file: who took the lock, and when."""

    boot_id: str
    since: datetime
    members: tuple[Holder, ...]

    def to_line(self) -> bytes:
        members = [asdict(member) for member in self.members]
        fields = {"boot_id": self.boot_id, "since": rfc3339(self.since), "members": members}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """Parse the first line; None if it is not a claim.

        What follows that line is the rest of an older, longer claim.
        """
        try:
            fields = json.loads(content.partition(b"\n")[0])
            members = tuple(Holder(**member) for member in fields["members"])
            return cls(fields["boot_id"], datetime.fromisoformat(fields["since"]), members)
        except (ValueError, KeyError, TypeError):
            return None


@contextmanager
def run_lock(
    local_dir: Path,
    patience: Takeover,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
) -> Iterator[RunLock]:
    """Hold the lock of this run. Raises BusyError if another run has it and may keep it."""
    path = local_dir / _FOLDER / _RUN
    descriptor = _take_for_run(path, patience, clock, say)
    try:
        lock = RunLock(path, descriptor, clock())
        lock.name(_ourselves())
        yield lock
    finally:
        os.close(descriptor)


def run_at_work(local_dir: Path) -> tuple[datetime, bool] | None:
    """Return when the newest run began and whether it still works; None if there is none."""
    claim = _read(local_dir / _FOLDER / _RUN)
    return None if claim is None else (claim.since, bool(_living(claim)))


@contextmanager
def carrier_lock(local_dir: Path, carrier: Carrier, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock for changing the carrier's snapshots, or for reading them if shared.

    Many may read at once. Raises BusyError that names the holder.
    """
    path = local_dir / _FOLDER / escaped(carrier)
    try:
        descriptor = _take_from_the_dead(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BlockingIOError as error:
        raise BusyError(
            "lock.carrier",
            f"{carrier}: it is in use by {_owner(path)}",
            "try again when that has ended",
        ) from error
    try:
        _write(descriptor, Claim(boot_id(), datetime.now(UTC), tuple(_ourselves())))
        yield
    finally:
        os.close(descriptor)


def _take_for_run(
    path: Path,
    patience: Takeover,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
) -> int:
    try:
        return _take_from_the_dead(path, fcntl.LOCK_EX)
    except BlockingIOError as error:
        match patience.if_running:
            case IfRunning.SKIP:
                raise _busy(path, "wait for its end, or use --if-running wait or kill") from error
            case IfRunning.WAIT:
                say(f"waiting for the run of {_owner(path)}")
                return _wait_for(path)
            case IfRunning.KILL:
                return _take_over(path, patience, clock(), say)


def _wait_for(path: Path) -> int:
    """Poll: with a blocking flock, a signal just before it would be handled only after it."""
    while True:
        with suppress(BlockingIOError):
            return _take(path, fcntl.LOCK_EX)
        time.sleep(_SETTLE / 2)


def _take_over(path: Path, patience: Takeover, now: datetime, say: Callable[[str], None]) -> int:
    """End the run that holds the lock, if it may be ended, and take the lock."""
    claim = _read(path)
    _check_patience(path, claim, patience, now)
    if not _living(claim):
        time.sleep(_SETTLE)
    victims = {*_living(claim), *holders(path)}
    ours = [victim for victim in victims if victim.uid == os.geteuid()]
    if not ours or _read(path) != claim:
        raise _busy(path, "it belongs to another user or has just begun")
    say(f"ending the run of {_owner(path)}")
    left = end(ours, patience.grace)
    try:
        return _take(path, fcntl.LOCK_EX)
    except BlockingIOError as error:
        stuck = f"{left[0]} does not even end on SIGKILL" if left else "another run was faster"
        raise _busy(path, stuck) from error


def _check_patience(path: Path, claim: Claim | None, patience: Takeover, now: datetime) -> None:
    if claim is None or claim.boot_id != boot_id():
        raise _busy(path, "its lock file does not say since when, so it is not killed")
    silent = now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if now - claim.since < patience.kill_after and silent < patience.silent_after:
        hours = patience.kill_after / timedelta(hours=1)
        raise _busy(path, f"it is at work, and is killed once it is {hours:g} hours old")


def _take_from_the_dead(path: Path, operation: int) -> int:
    """Take the lock, waiting only for a holder that ends. Raises BlockingIOError if one lives."""
    deadline = time.monotonic() + _ENDING
    while True:
        try:
            return _take(path, operation)
        except BlockingIOError:
            if _holder(path) is not None or time.monotonic() > deadline:
                raise
        time.sleep(_ENDING / 100)


def _take(path: Path, operation: int) -> int:
    """Take the lock at once; return its descriptor. Raises BlockingIOError if it is held."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                if _is_at(path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # somebody removed the file before the lock was ours
    except BlockingIOError:
        raise
    except OSError as error:
        raise BackupError(
            "lock.folder",
            f"{path}: the lock cannot be taken ({error.strerror})",
            "make this folder writable for the user who runs this, or name another local_dir",
        ) from error


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(path: Path) -> Claim | None:
    try:
        return Claim.parse(path.read_bytes())
    except OSError:
        return None


def _write(descriptor: int, claim: Claim) -> None:
    """Write the line, then cut the rest: a reader finds the old or the new claim, whole."""
    line = claim.to_line()
    with suppress(OSError):  # on a full disk: the flock suffices, and the run may free space
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))


def _ourselves() -> list[Holder]:
    ourselves = Holder.of(os.getpid())
    return [] if ourselves is None else [ourselves]


def _living(claim: Claim | None) -> list[Holder]:
    if claim is None or claim.boot_id != boot_id():
        return []
    return [member for member in claim.members if member.alive]


def _owner(path: Path) -> str:
    return _holder(path) or "a process of another user"


def _holder(path: Path) -> str | None:
    """Describe who holds the lock, and since when if the file tells; None if nobody is seen."""
    claim, found = _read(path), holders(path)
    named = [member for member in _living(claim) if member in found or not found]
    if claim is not None and named:
        return f"{named[0]} since {local(claim.since, host_zone(os.environ))}"
    return str(found[0]) if found else None


def _busy(path: Path, hint: str) -> BusyError:
    return BusyError("lock.run", f"another run holds the lock: {_owner(path)}", hint)
