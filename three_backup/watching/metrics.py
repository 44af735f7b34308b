"""Metrics for Prometheus, in the format of the node exporter's textfile collector.

Each carrier has one series of a metric, not each of its objects: a cluster of PostgreSQL may have
ten thousand of these, which stand and fall together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from three_backup.host.durable import write_durably
from three_backup.sources.logged import Log
from three_backup.watching.last_run import LastRun
from three_backup.watching.measured import Looked, Measured

_READABLE = 0o644
_PREFIX = "three_backup_"

_Value = datetime | timedelta | float | None
"""None: there is no such sample. Times and durations become seconds."""


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str  # without the prefix
    help: str
    samples: Sequence[tuple[str, float]]  # labels in braces, or an empty text, and the value


@dataclass(frozen=True, slots=True)
class _Gauge:
    """A metric of carriers."""

    name: str
    help: str
    value: Callable[[Measured], _Value]


@dataclass(frozen=True, slots=True)
class _Split:
    """A metric of carriers that has a series for each of a few parts."""

    name: str
    help: str
    label: str
    values: Callable[[Looked], Mapping[Any, _Value] | None]


def _looked(value: Callable[[Looked], _Value]) -> Callable[[Measured], _Value]:
    return lambda each: None if each.looked is None else value(each.looked)


def _log(value: Callable[[Log], _Value]) -> Callable[[Measured], _Value]:
    return _looked(lambda looked: None if looked.log is None else value(looked.log))


_OF_CARRIERS = (
    _Gauge(
        "state",
        "How the carrier stands: 0 ok, 1 warning, 2 critical, -1 gone at its source, -2 off.",
        _looked(lambda looked: looked.state),
    ),
    _Gauge(
        "objects", "How many objects the snapshots of the carrier hold.", lambda each: each.objects
    ),
    _Gauge(
        "failing",
        "1 where the last run that saw the carrier failed with it or left it undone.",
        lambda each: each.failing,
    ),
    _Gauge(
        "due_timestamp_seconds",
        "When the first snapshot of the carrier was or is due that is not there.",
        _looked(lambda looked: looked.due),
    ),
    _Gauge(
        "newest_base_timestamp_seconds",
        "When the newest base snapshot of the carrier was taken; absent without any.",
        lambda each: each.base,
    ),
    _Gauge(
        "newest_snapshot_timestamp_seconds",
        "When the newest snapshot of the carrier was taken; absent without any.",
        lambda each: each.newest,
    ),
    _Gauge(
        "newest_upload_timestamp_seconds",
        "When the newest snapshot in S3 of the carrier was taken; absent without any.",
        lambda each: each.uploaded,
    ),
    _Gauge(
        "oldest_snapshot_timestamp_seconds",
        "When the oldest snapshot of the carrier was taken that can be restored.",
        _looked(lambda looked: looked.oldest),
    ),
    _Gauge(
        "newest_drill_timestamp_seconds",
        "When the last good drill of any object of the carrier was; absent without any.",
        _looked(lambda looked: max(looked.drills, default=None)),
    ),
    _Gauge(
        "drilled_objects",
        "How many objects of the carrier ever had a good drill.",
        _looked(lambda looked: len(looked.drills)),
    ),
    _Gauge(
        "failed_drills",
        "How many of the last drills of the carrier's objects failed.",
        _looked(lambda looked: looked.failed_drills),
    ),
    _Gauge(
        "newest_wal_timestamp_seconds",
        "Up to when the WAL of the carrier is in S3; absent without any.",
        _log(lambda log: log.reached),
    ),
    _Gauge(
        "wal_max_age_seconds",
        "How far behind the WAL of the carrier in S3 may be before tb-status is alarmed.",
        _looked(lambda looked: looked.log_max_age),
    ),
    _Gauge(
        "wal_gaps",
        "How many gaps the WAL of the carrier has in S3, that of now included.",
        _log(lambda log: len(log.gaps) + (not log.leads_on)),
    ),
    _Gauge(
        "wal_stored_bytes", "Bytes of the carrier's WAL in S3.", _log(lambda log: log.stored_size)
    ),
    _Gauge(
        "any_second_since_timestamp_seconds",
        "From when on any second of the carrier can be restored, up to the next metric.",
        _log(lambda log: log.windows[-1].since if log.windows else None),
    ),
    _Gauge(
        "any_second_until_timestamp_seconds",
        "Up to when any second of the carrier can be restored.",
        _log(lambda log: log.windows[-1].until if log.windows else None),
    ),
    _Gauge(
        "any_second_seconds",
        "How many seconds of the carrier can be restored one by one, before gaps, too.",
        _log(lambda log: sum((each.until - each.since for each in log.windows), timedelta())),
    ),
)

_SPLIT = (
    _Split(
        "snapshots",
        "How many snapshots of the carrier lie on this host or in its source, and in S3.",
        "place",
        lambda look: look.snapshots,
    ),
    _Split(
        "stored_bytes",
        "Bytes of the carrier's snapshots in folders of this host, and in S3.",
        "place",
        lambda look: look.stored,
    ),
    _Split(
        "newest_copy_timestamp_seconds",
        "When the newest snapshot in a further store was taken; absent without any.",
        "store",
        lambda look: look.copied,
    ),
)


def text(measured: Iterable[Measured], run: LastRun | None) -> str:
    every = list(measured)
    metrics = (*_of_carriers(every), *_of_splits(every), *_of_the_run(run))
    return "".join(_lines(metric) for metric in metrics if metric.samples)


def write(path: Path, measured: Iterable[Measured], run: LastRun | None) -> None:
    """Write the whole file or nothing; the collector, which is another user, may read it."""
    write_durably(path, text(measured, run).encode(), _READABLE)


def _of_carriers(measured: Sequence[Measured]) -> Iterator[_Metric]:
    for gauge in _OF_CARRIERS:
        values = ((each, gauge.value(each)) for each in measured)
        samples = [
            (_labels(carrier=each.carrier), _plain(value))
            for each, value in values
            if value is not None
        ]
        yield _Metric(gauge.name, gauge.help, samples)


def _of_splits(measured: Sequence[Measured]) -> Iterator[_Metric]:
    looked = [(each.carrier, each.looked) for each in measured if each.looked is not None]
    for split in _SPLIT:
        samples = [
            (_labels(carrier=carrier, **{split.label: part}), _plain(value))
            for carrier, look in looked
            for part, value in (split.values(look) or {}).items()
            if value is not None
        ]
        yield _Metric(split.name, split.help, samples)


def _of_the_run(run: LastRun | None) -> Iterator[_Metric]:
    if run is None:
        return
    took, stages = run.ended_at - run.began_at, sorted(run.stages.items())
    moved = {stage: cost.written for stage, cost in stages if cost.written is not None}
    yield _Metric(
        "last_run_timestamp_seconds",
        "When the last run of tb-run ended.",
        [("", int(run.ended_at.timestamp()))],
    )
    yield _Metric("last_run_duration_seconds", "How long it took.", [("", took.total_seconds())])
    yield _Metric("last_run_status", "Its exit status, 0 where all was well.", [("", run.status)])
    yield _Metric(
        "last_run_stage_seconds",
        "How long each of its stages worked on carriers; stages work at the same time.",
        [(_labels(stage=stage), cost.seconds) for stage, cost in stages],
    )
    yield _Metric(
        "last_run_stage_bytes",
        "How many bytes each of its stages wrote.",
        [(_labels(stage=stage), value) for stage, value in moved.items()],
    )


def _plain(value: datetime | timedelta | float) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _lines(metric: _Metric) -> str:
    name = f"{_PREFIX}{metric.name}"
    samples = "".join(f"{name}{labels} {value:.15g}\n" for labels, value in metric.samples)
    return f"# HELP {name} {metric.help}\n# TYPE {name} gauge\n{samples}"


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
