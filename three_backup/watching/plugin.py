"""How everything stands as Nagios and its kin read it: a line with figures, then all else."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from three_backup.screen import formats
from three_backup.watching.carrier_row import is_expected
from three_backup.watching.health import Level
from three_backup.watching.last_run import LastRun
from three_backup.watching.overview import WatchedCarrier

_MOST_LINES = 20
"""Agents cut off what is longer than a few kilobytes."""


def headline(
    level: Level, watched: Sequence[WatchedCarrier], others: Sequence[str], now: datetime
) -> str:
    """Return how the carriers of this host stand. others: what is wrong besides them."""
    found = [*troubles(watched), *others]
    if not watched and not others:
        text = "no snapshot is known, and no run"
    elif found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        text = f"{found[0]}{more}"
    else:
        text = _all_is_well([carrier for carrier in watched if is_expected(carrier)], now)
    return f"{level.name} - {_plain(text)}"


def troubles(watched: Sequence[WatchedCarrier]) -> list[str]:
    """Return what is wrong with the carriers, each sentence with its carrier in front."""
    names = [(f"{carrier.carrier}: ", carrier.health.troubles) for carrier in watched]
    return [name + told.replace(name, "", 1) for name, sentences in names for told in sentences]


def output(
    first: str,
    wrong: Sequence[str],
    watched: Sequence[WatchedCarrier],
    last: LastRun | None,
    now: datetime,
) -> str:
    """Return all that the plugin prints. first: the headline. wrong: all that is wrong, of which
    the headline has the first.
    """
    figures = " ".join(f"{name}={value};;;0" for name, value in _figures(watched, last, now))
    further = wrong[1:]
    lines = [_plain(sentence) for sentence in further[:_MOST_LINES]]
    if len(further) > _MOST_LINES:
        lines.append(f"and {len(further) - _MOST_LINES} more, which tb-status names")
    return "\n".join((f"{first.rstrip()} | {figures}", *lines)) + "\n"


def _figures(
    watched: Sequence[WatchedCarrier], last: LastRun | None, now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield figures over all that is to be backed up. An age is that of the worst carrier."""
    expected = [carrier for carrier in watched if is_expected(carrier)]
    healths = [carrier.health for carrier in expected]
    yield "objects", str(sum(len(carrier.objects) for carrier in expected))
    for level in (Level.WARNING, Level.CRITICAL):
        yield level.name.lower(), str(sum(health.level is level for health in healths))
    ages = (
        ("snapshot_age", [health.chain.newest for health in healths if health.chain]),
        ("upload_age", [health.uploaded for health in healths]),
        ("copy_age", [time for health in healths for time in health.copied.values()]),
        ("drill_age", [max(carrier.proved.values(), default=None) for carrier in expected]),
        ("wal_age", [carrier.log.reached for carrier in expected if carrier.log]),
    )
    for name, times in ages:
        if known := [time for time in times if time is not None]:
            yield name, f"{max(0, int((now - min(known)).total_seconds()))}s"
    if last is not None:
        yield "run_time", f"{int((last.ended_at - last.began_at).total_seconds())}s"


def _all_is_well(watched: Sequence[WatchedCarrier], now: datetime) -> str:
    count = formats.counted(sum(len(carrier.objects) for carrier in watched), "object")
    newest = [carrier.health.chain.newest for carrier in watched if carrier.health.chain]
    old = formats.age(min(newest, default=None), now)
    return f"{count} backed up, every last snapshot at most {old} old"


def _plain(sentence: str) -> str:
    """Return a sentence as one line without |, behind which figures are read."""
    return " ".join(sentence.splitlines()).replace("|", "/")
