"""Metrics for Prometheus, in the format of the node exporter's textfile collector."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from three_backup.host.durable import write_durably
from three_backup.model.objects import Carrier
from three_backup.watching.last_run import LastRun
from three_backup.watching.overview import WatchedCarrier

_READABLE = 0o644


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a carrier. A time is None for never."""

    carrier: Carrier
    objects: int
    base: datetime | None  # when the newest base was taken
    newest: datetime | None  # when the newest snapshot was taken
    uploaded: datetime | None  # when the newest snapshot in S3 was taken
    failing: bool
    # Up to when what is logged between snapshots lies in S3, and how many gaps it has; only
    # tb-status knows them.
    wal: datetime | None = None
    wal_gaps: int | None = None
    # When the newest copy in each further store was taken; only tb-status knows.
    copied: Mapping[str, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    help: str
    samples: Sequence[tuple[str, float]]  # labels in braces, or an empty text, and the value


def of_run(run: LastRun) -> list[Measured]:
    """Return what the run knows without asking S3 again."""
    return [
        Measured(
            carrier, made.objects, made.base, made.newest, made.uploaded, made.why is not None
        )
        for carrier, made in sorted(run.carriers.items())
        if not made.disabled
    ]


def of_carrier(watched: WatchedCarrier, last: LastRun | None) -> Measured:
    """Return what a look at the catalog, and the last run, tell of a carrier."""
    health, log = watched.health, watched.log
    made = last.carriers.get(watched.carrier) if last else None
    return Measured(
        watched.carrier,
        len(watched.objects),
        health.base,
        health.chain.newest if health.chain else None,
        health.uploaded,
        made is not None and made.why is not None,
        wal=log.reached if log else None,
        wal_gaps=len(log.gaps) + (not log.leads_on) if log else None,
        copied=health.copied,
    )


def text(measured: Iterable[Measured], run: LastRun | None) -> str:
    every = list(measured)
    metrics = (*_of_carriers(every), *_of_copies(every), *_of_wal(every), *_of_the_run(run))
    return "".join(map(_lines, metrics))


def write(path: Path, measured: Iterable[Measured], run: LastRun | None) -> None:
    """Write the whole file or nothing; the collector, which is another user, may read it."""
    write_durably(path, text(measured, run).encode(), _READABLE)


def _of_carriers(measured: Sequence[Measured]) -> Iterator[_Metric]:
    times = (
        ("base", "base snapshot", [figures.base for figures in measured]),
        ("snapshot", "snapshot", [figures.newest for figures in measured]),
        ("upload", "snapshot in S3", [figures.uploaded for figures in measured]),
    )
    for name, what, values in times:
        yield _timestamps(
            f"three_backup_newest_{name}_timestamp_seconds",
            f"When the newest {what} of the carrier was taken; absent without any.",
            measured,
            values,
        )
    yield _Metric(
        "three_backup_objects",
        "How many objects the snapshots of the carrier hold.",
        [(_labels(carrier=figures.carrier), figures.objects) for figures in measured],
    )
    yield _Metric(
        "three_backup_failing",
        "1 where the last run that saw the carrier failed with it or left it undone.",
        [(_labels(carrier=figures.carrier), figures.failing) for figures in measured],
    )


def _of_copies(measured: Sequence[Measured]) -> Iterator[_Metric]:
    if any(figures.copied for figures in measured):
        yield _Metric(
            "three_backup_newest_copy_timestamp_seconds",
            "When the newest snapshot in a further store was taken; absent without any.",
            [
                (_labels(carrier=figures.carrier, store=store), time.timestamp())
                for figures in measured
                for store, time in figures.copied.items()
                if time is not None
            ],
        )


def _of_wal(measured: Sequence[Measured]) -> Iterator[_Metric]:
    known = [figures for figures in measured if figures.wal_gaps is not None]
    if not known:
        return
    yield _timestamps(
        "three_backup_newest_wal_timestamp_seconds",
        "Up to when the WAL of the carrier is in S3; absent without any.",
        known,
        [figures.wal for figures in known],
    )
    yield _Metric(
        "three_backup_wal_gaps",
        "How many gaps the WAL of the carrier has in S3, that of now included.",
        [(_labels(carrier=figures.carrier), figures.wal_gaps or 0) for figures in known],
    )


def _timestamps(
    name: str, explanation: str, measured: Sequence[Measured], times: Sequence[datetime | None]
) -> _Metric:
    return _Metric(
        name,
        explanation,
        [
            (_labels(carrier=figures.carrier), time.timestamp())
            for figures, time in zip(measured, times, strict=True)
            if time is not None
        ],
    )


def _of_the_run(run: LastRun | None) -> Iterator[_Metric]:
    if run is None:
        return
    yield _Metric(
        "three_backup_last_run_timestamp_seconds",
        "When the last run of tb-run ended.",
        [("", int(run.ended_at.timestamp()))],
    )
    yield _Metric(
        "three_backup_last_run_duration_seconds",
        "How long it took.",
        [("", (run.ended_at - run.began_at).total_seconds())],
    )
    yield _Metric(
        "three_backup_last_run_status",
        "Its exit status, 0 where all was well.",
        [("", run.status)],
    )


def _lines(metric: _Metric) -> str:
    samples = "".join(f"{metric.name}{labels} {value:.15g}\n" for labels, value in metric.samples)
    return f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} gauge\n{samples}"


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
