"""What the last runs made of each carrier, kept for monitoring in `<local_dir>/last_run.json`.

It decides nothing about what is backed up or removed. Without it a failure before the first
snapshot, and an object that is gone at its source, would go unnoticed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from three_backup.host.durable import write_durably
from three_backup.model.objects import Carrier
from three_backup.model.records import Record
from three_backup.model.snapshots import Kind, SnapshotId, rfc3339
from three_backup.model.stages import Stage
from three_backup.watching.stage_costs import Cost
from three_backup.watching.summary import Outcome, outcome_of, sentence_of

_NAME = "last_run.json"
_VERSION = 1
_FAILURES = (Outcome.FAILED, Outcome.UNFINISHED, Outcome.UNCOPIED)
_LEFT_ALONE = (Outcome.DISABLED, Outcome.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a carrier, or of a source that could not be listed. Times are aware UTC."""

    objects: int = 0  # 0 for a source
    disabled: bool = False  # nothing of it is to be backed up
    why: str | None = None  # why it failed or was left undone; None: neither
    failing_since: datetime | None = None  # the first of the runs in a row that failed with it
    base: datetime | None = None  # when the newest base was taken
    newest: datetime | None = None  # when the newest snapshot was taken
    uploaded: datetime | None = None  # when the newest snapshot in S3 was taken
    size: int = 0  # bytes of its objects at the source


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run, and what is known of every carrier."""

    began_at: datetime
    ended_at: datetime
    status: int  # the exit status
    deaths: tuple[str, ...] = ()  # sentences on stages that did not end by themselves
    listed: tuple[str, ...] = ()  # types of sources that the last runs could list as a whole
    carriers: Mapping[Carrier, Made] = field(default_factory=dict)  # by name
    stages: Mapping[str, Cost] = field(default_factory=dict)  # of the tools that worked

    def to_json(self) -> bytes:
        return json.dumps({"v": _VERSION, **_plain(self)}, default=_plain).encode() + b"\n"

    @classmethod
    def parse(cls, body: bytes) -> Self | None:
        """Parse the file; None if another version wrote it or it is damaged: it is dispensable."""
        try:
            fields = json.loads(body)
            if fields.pop("v") != _VERSION:
                return None
            carriers = {
                Carrier(name): Made(**_timed(made)) for name, made in fields["carriers"].items()
            }
            told = {name: tuple(fields[name]) for name in ("deaths", "listed")}
            stages = {stage: Cost(**cost) for stage, cost in fields.get("stages", {}).items()}
            return cls(**{**_timed(fields), **told, "carriers": carriers, "stages": stages})
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(slots=True)
class RunLedger:
    """Takes the records of a run one by one, and keeps one entry for each carrier."""

    made: dict[Carrier, Made] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        if record.id:  # without an id it stands for a malformed line
            before = self.made.get(record.carrier, Made(disabled=True))
            self.made[record.carrier] = _with(before, record)

    def closed(self, before: LastRun | None, run: LastRun, patterns: Sequence[str]) -> LastRun:
        """Return the run with what it saw; what it did not look at stays as known before."""
        old = before.carriers if before else {}
        made = {
            carrier: _since(new, old.get(carrier), run.began_at)
            for carrier, new in self.made.items()
        }
        types = {carrier.type for carrier in made}
        failed = {carrier.type for carrier, new in made.items() if not new.objects}
        listed = set() if patterns or run.deaths else types - failed
        kept = {carrier: earlier for carrier, earlier in old.items() if carrier.type not in listed}
        known = {*(before.listed if before else ()), *listed}
        return replace(run, listed=tuple(sorted(known)), carriers={**kept, **made})


def read(local_dir: Path) -> LastRun | None:
    """Read the last run; None where no run has ended yet."""
    try:
        return LastRun.parse((local_dir / _NAME).read_bytes())
    except FileNotFoundError:
        return None


def write(local_dir: Path, run: LastRun) -> None:
    write_durably(local_dir / _NAME, run.to_json())


def _plain(value: Any) -> Any:
    """Turn a value that JSON does not know into one that it knows.

    Without asdict, which would first copy everything of ten thousand carriers.
    """
    if isinstance(value, datetime):
        return rfc3339(value)
    return {member.name: getattr(value, member.name) for member in fields(value)}


def _with(made: Made, record: Record) -> Made:
    outcome, fields = outcome_of(record), record.fields
    failing = outcome in _FAILURES
    newest = _time_of((fields.get("snapshot") or {}).get("id") or fields.get("newest"))
    return Made(
        objects=made.objects + ("subtype" in fields),
        disabled=made.disabled and outcome in _LEFT_ALONE,
        why=made.why or (sentence_of(record) if failing else None),
        base=_latest(made.base, _base(record)),
        newest=_latest(made.newest, newest),
        uploaded=_latest(made.uploaded, newest if _is_in_s3(record) else _known(record, "s3")),
        size=made.size + int(fields.get("size", 0)),
    )


def _base(record: Record) -> datetime | None:
    taken = record.fields.get("snapshot") or {}
    return _time_of(taken["id"]) if taken.get("kind") == Kind.BASE else _known(record, "base")


def _known(record: Record, which: str) -> datetime | None:
    """Return the time of the snapshot that the plan knew as the newest."""
    return _time_of(record.fields.get(f"newest_{which}"))


def _is_in_s3(record: Record) -> bool:
    stage = record.fields.get("stage")
    return stage is not None and Stage(stage).reaches(Stage.SYNCED_S3)


def _time_of(text: str | None) -> datetime | None:
    snapshot = SnapshotId.parse(text) if text else None
    return snapshot.time if snapshot else None


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _since(made: Made, before: Made | None, began_at: datetime) -> Made:
    if made.why is None:
        return made
    return replace(made, failing_since=(before and before.failing_since) or began_at)


def _timed(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = ("began_at", "ended_at", "failing_since", "base", "newest", "uploaded")
    read = {name: datetime.fromisoformat(fields[name]) for name in names if fields.get(name)}
    return {**fields, **read}
