"""The last runs and what each did, for people, in `<local_dir>/runs.json`. It decides nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from three_backup.host.durable import write_durably
from three_backup.model.snapshots import Kind, exactly, rfc3339
from three_backup.screen.formats import size
from three_backup.watching.last_run import LastRun
from three_backup.watching.summary import Summary, headline

_NAME = "runs.json"
_VERSION = 1
_MOST_RUNS, _MOST_FAILURES = 20, 5


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of tb-run. Times are aware UTC."""

    began_at: datetime
    patterns: tuple[str, ...] = ()  # of --select
    # None for these: it is at work, or was ended by a signal.
    ended_at: datetime | None = None
    status: int | None = None  # the exit status
    headline: str = ""  # the run in a few words
    # Sums over the carriers, as in a Summary.
    taken: Mapping[str, int] = field(default_factory=dict)
    uploaded: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()  # the first sentences on what failed

    def ended(self, run: LastRun, done: Summary) -> Self:
        """Return the run with how it ended and what it did."""
        failures = (*run.deaths, *done.failures)
        return replace(
            self,
            ended_at=run.ended_at,
            status=run.status,
            headline=headline(done, run.deaths),
            taken=dict(done.sums.taken),
            uploaded=dict(done.sums.uploaded),
            removed=dict(done.sums.removed),
            failures=failures[:_MOST_FAILURES],
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "began_at": exactly(self.began_at),  # two runs may begin within a second
            "patterns": self.patterns,
            "ended_at": self.ended_at and rfc3339(self.ended_at),
            "status": self.status,
            "headline": self.headline,
            "taken": self.taken,
            "uploaded": self.uploaded,
            "removed": self.removed,
            "failures": self.failures,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what to_json wrote. Raises ValueError, KeyError or the like if it is damaged."""
        ended_at, status = fields["ended_at"], fields["status"]
        return cls(
            datetime.fromisoformat(fields["began_at"]),
            tuple(map(str, fields["patterns"])),
            ended_at and datetime.fromisoformat(ended_at),
            None if status is None else int(status),
            str(fields["headline"]),
            _counts(fields["taken"]),
            _counts(fields["uploaded"]),
            _counts(fields["removed"]),
            tuple(map(str, fields["failures"])),
        )

    @property
    def words(self) -> str:
        """What it did, in a few words; why it failed comes first."""
        selected = " ".join(f"-s {pattern}" for pattern in self.patterns)
        done = "; ".join(self._words()) or self.headline
        return f"{selected}: {done}" if selected else done

    def _words(self) -> Iterator[str]:
        if self.status:
            yield ": ".join((self.headline, *self.failures[:1]))
        if kinds := [f"{self.taken[kind]} {kind}" for kind in Kind if self.taken.get(kind)]:
            yield f"took {', '.join(kinds)}"
        if count := self.uploaded.get("snapshots"):
            yield f"uploaded {count}, {size(self.uploaded['bytes'])}"
        if count := sum(self.removed.values()):
            yield f"removed {count}"


def read(local_dir: Path) -> Sequence[PastRun]:
    """Return the last runs, the newest last; none where the file is missing or damaged."""
    try:
        fields = json.loads((local_dir / _NAME).read_bytes())
        if fields["v"] != _VERSION:
            return []
        return [PastRun.from_json(run) for run in fields["runs"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return []


def begun(local_dir: Path, began_at: datetime, patterns: Sequence[str]) -> PastRun:
    """Write down that a run begins, and return it."""
    run = PastRun(began_at, tuple(patterns))
    with suppress(OSError):  # at its end that is told
        remember(local_dir, run)
    return run


def remember(local_dir: Path, run: PastRun) -> None:
    """Write the run down, in place of what was written when it began."""
    others = [past for past in read(local_dir) if past.began_at != run.began_at]
    runs = [past.to_json() for past in (*others, run)][-_MOST_RUNS:]
    body = json.dumps({"v": _VERSION, "runs": runs}).encode()
    write_durably(local_dir / _NAME, body + b"\n")


def _counts(fields: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in fields.items()}
