"""Judges how far behind what a server logs between snapshots is in S3, and its gaps. Pure."""

from collections.abc import Iterator
from datetime import datetime

from three_backup.config.settings import Settings
from three_backup.deciding.due import Clock
from three_backup.model.wal import Wal
from three_backup.screen.formats import age
from three_backup.sources.logged import Log
from three_backup.watching.health import Level, Trouble


def troubles(log: Log | None, settings: Settings, clock: Clock) -> Iterator[Trouble]:
    """Yield what is wrong with it. settings: of the source. Nothing is where it is not wanted."""
    if settings.wal is Wal.OFF:
        return
    if log is None or log.reached is None:
        how = "run tb-wal pull" if settings.wal is Wal.PULL else "set archive_command to tb-wal"
        yield Trouble(Level.WARNING, f"no WAL is in S3 yet: {how}, and tb-check")
        return
    yield from _old(log.reached, settings, clock)
    yield from (Trouble(Level.WARNING, sentence) for sentence in log.troubles)
    yield from (Trouble(Level.WARNING, sentence) for sentence in _gaps(log, clock))


def _old(reached: datetime, settings: Settings, clock: Clock) -> Iterator[Trouble]:
    """Yield a trouble if it is older than it may be; twice that age is critical."""
    late = clock.now - reached
    if late > settings.wal_max_age:
        level = Level.CRITICAL if late > 2 * settings.wal_max_age else Level.WARNING
        ago = age(reached, clock.now)
        yield Trouble(level, f"the WAL in S3 ends {ago} ago, at {clock.shown(reached)}")


def _gaps(log: Log, clock: Clock) -> Iterator[str]:
    if log.ended is not None:
        yield (
            f"WAL is missing after {clock.shown(log.ended)}: no later moment between snapshots "
            "can be restored; the next snapshot closes the gap"
        )
    elif not log.windows:
        yield (
            "the WAL in S3 leads on from no snapshot, so that no moment between snapshots can be "
            "restored; the next snapshot changes that"
        )
    if log.gaps:
        last, before = log.gaps[-1], len(log.gaps) - 1
        since, until = clock.shown(last.since), clock.shown(last.until)
        others = f", nor in {before} earlier gaps" if before > 1 else ""
        others = ", nor in an earlier gap" if before == 1 else others
        yield (
            f"WAL is missing: no moment between {since} and {until} "
            f"can be restored{others}; snapshot {last.opened_by} closes the gap"
        )
