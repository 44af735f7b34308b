"""The interface of sources whose log, of all that happens between snapshots, lies in S3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Protocol

from three_backup.model.signing import Keyring
from three_backup.model.snapshots import CarriedObject, SnapshotId
from three_backup.sources.jobs import Landing, LogCopyJob, LogJob, MomentJob, RestoreJob


@dataclass(frozen=True, slots=True)
class Window:
    """A time of which every moment can be restored."""

    since: datetime
    until: datetime
    opened_by: SnapshotId | None = None  # the snapshot from which its first moment is restored


@dataclass(frozen=True, slots=True)
class Log:
    """How far what a server logged between its snapshots lies in S3."""

    windows: tuple[Window, ...]  # the oldest first, with gaps between
    reached: datetime | None  # it is complete until then; None: nothing is known
    stored_size: int  # bytes in S3
    troubles: tuple[str, ...] = ()  # sentences on what is damaged or lacking, gaps aside

    @property
    def gaps(self) -> tuple[Window, ...]:
        """The times between two windows, the oldest first."""
        return tuple(
            Window(before.until, after.since, after.opened_by)
            for before, after in pairwise(self.windows)
        )

    @property
    def leads_on(self) -> bool:
        """Whether the next moment can be restored, once what is logged until then lies in S3."""
        return bool(self.windows) and self.ended is None

    @property
    def ended(self) -> datetime | None:
        """When the last window ended, if what was logged later leads on from no snapshot yet."""
        last = self.windows[-1].until if self.windows else None
        return last if last and self.reached and last < self.reached else None


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """A verdict of retention on keys of the log: they may go."""

    keys: Sequence[str]  # relative to the prefix; the last one is deleted last
    stored_size: int  # bytes in S3
    reason: str


@dataclass(frozen=True, slots=True)
class LogCopied:
    """The copy of a log."""

    keys: int = 0
    size: int = 0  # bytes that were written


class LoggedSource(Protocol):
    """A source that brings back moments between snapshots, where its log is archived."""

    def landing(self, job: MomentJob) -> Landing | None:
        """Return where a moment is found that is not a drop; None where no log leads there.

        Raises BackupError if it cannot be restored.
        """

    def drops(self, job: MomentJob) -> Callable[[str], Landing | None]:
        """Return a search for the last drop of what an id or a pattern names, just before which it
        is to be found. It returns None where no log is kept. Raises BackupError.
        """

    def reach(self, job: RestoreJob) -> Mapping[str, Any]:
        """Return which moment a restore to the job's landing reaches, by a look at it."""

    def objects_then(self, job: RestoreJob, pattern: str) -> Sequence[CarriedObject]:
        """Return what the pattern selects of all that existed at the job's landing."""

    def log(self, job: LogJob) -> Log | None:
        """Return which moments can be restored; None where nothing logged lies in S3.

        The server is not asked. Costs one listing and a few small keys.
        """

    def sign_log(self, job: LogJob, keyring: Keyring) -> int:
        """Sign what is archived of the log without a signature; return how many keys that were.

        The store of the job reads what is unsigned. Raises BackupError for what is damaged.
        """

    def copy_log(self, job: LogCopyJob) -> LogCopied:
        """Copy what leads on from a snapshot of the job and is not there yet, each piece checked.

        A copy that is cut short has a gap at most behind what it says to reach.
        """

    def expendable_log(self, job: LogJob) -> Sequence[LogVerdict]:
        """Return what of the log leads on from no snapshot of the job, in the order to delete it.

        Nothing is expendable for a job without manifests. Raises ManifestError.
        """
