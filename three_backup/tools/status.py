"""tb-status - say what is backed up, how old it is, and what is late

Usage:
  tb-status [--select PATTERN]... [options]

Options:
  -s, --select PATTERN   only objects whose id matches; may be repeated
      --store NAME       look at this further store, as if there were no other
      --every-host       the other hosts of the bucket, too, worst first
      --max-age AGE      critical where the newest good snapshot is older, 26h say
      --grace TIME       how long what is due may wait for a run [default: 2h]
      --prometheus FILE  write metrics there, too
      --html FILE        write a page for a browser there, too
      --nagios           a line with figures for a plugin's reader, instead of a table
      --runs             the last twenty runs and what each did, instead
      --json             records instead of a table
  -c, --config FILE      the configuration
      --env-file FILE    PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help             show this
      --version          show the version

Reads the catalog and what the last run left, and contacts no source. The first line and the exit
status are those of a Nagios plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.every_host import other_hosts
from three_backup.config.options import duration
from three_backup.deciding.due import Clock
from three_backup.errors import BackupError, Exit, UsageError
from three_backup.host import locks
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation
from three_backup.restoring.unmatched import in_catalogs, unmatched_among
from three_backup.screen import formats
from three_backup.screen.terminal import painted
from three_backup.watching import hosts_table, last_run, measured, metrics, plugin
from three_backup.watching.carrier_row import colour, links, state
from three_backup.watching.copies import Copies
from three_backup.watching.every_host import Neighbourhood, OfHost, worst_first
from three_backup.watching.health import AgeLimits, Health, Level
from three_backup.watching.last_run import LastRun
from three_backup.watching.overview import PATIENCE, Watch, WatchedCarrier, hasty, worst
from three_backup.watching.page import Page
from three_backup.watching.run_table import run_lines, run_table
from three_backup.watching.status_records import records_of, records_of_host

_HEADING = ("STATE", "CARRIER", "BASE", "INCR", "IN S3", "PROVED")
_HEADING_OF_CHAINS = ("CHAIN", "NEXT")
_FILES = ("--prometheus", "--html")
_ALONE = (
    ("--every-host", (*_FILES, "--runs"), "run tb-status on the other hosts for theirs"),
    ("--runs", _FILES, "run tb-status once more without --runs"),
    ("--nagios", ("--json", "--runs"), "give one of them"),
    ("--store", (*_FILES, "--every-host", "--runs"), "leave out --store for these"),
)
"""Options with those that they exclude, and the remedy."""
_USUAL_WIDTH, _WIDE = 78, 100


@dataclass(frozen=True, slots=True)
class Args:
    grace: timedelta
    max_age: timedelta | None
    every_host: bool
    nagios: bool
    prometheus: Path | None
    html: Path | None
    runs: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        prometheus, html = arguments["--prometheus"], arguments["--html"]
        for alone, others, remedy in _ALONE:
            given = [option for option in others if arguments[option]]
            if given and arguments[alone]:
                raise UsageError("usage", f"{alone} and {given[0]} exclude one another", remedy)
        return cls(
            grace=_duration("--grace", arguments["--grace"]) or timedelta(),
            max_age=_duration("--max-age", arguments["--max-age"]),
            every_host=bool(arguments["--every-host"]),
            nagios=bool(arguments["--nagios"]),
            prometheus=Path(prometheus) if prometheus else None,
            html=Path(html) if html else None,
            runs=bool(arguments["--runs"]),
        )


def main() -> int:
    return pipe.main(__doc__, run, unable=_unknown)


def run(invocation: Invocation) -> int:
    now = invocation.clock()
    folder = invocation.configuration.run.local_dir
    last = last_run.read(folder)
    args = Args.of(invocation.arguments)
    clock = Clock(now, host_zone(os.environ))
    if args.runs:
        table = partial(run_table, folder, clock, invocation.width, coloured=invocation.coloured)
        invocation.write(run_lines(folder) if invocation.json else table())
        return Exit.OK
    patience = AgeLimits(args.grace, args.max_age)
    copies = (
        None if invocation.store else Copies(invocation.configuration, PATIENCE, invocation.say)
    )
    watch = Watch(invocation.configuration, invocation.patterns, last, patience, clock, copies)
    of_the_run = list(_of_the_run(last, locks.run_at_work(folder), clock))
    page = Page(args.html, watch, invocation.host, of_the_run)
    with page.even_of_a_failure():
        catalogs = [
            invocation.catalog(storage) for storage in hasty(invocation.configuration.storages())
        ]
        watched = watch.look(catalogs)
        of_the_run += copies.unreadable.values() if copies else ()
    if args.every_host:
        neighbourhood = Neighbourhood(invocation.patterns, patience, clock)
        return _of_every_host(invocation, args, catalogs, watched, neighbourhood, of_the_run)
    page.write(watched)
    looked_for = invocation.json or invocation.patterns
    records = [record for carrier in watched if looked_for for record in records_of(carrier)]
    unmatched = list(unmatched_among(records, invocation.patterns, in_catalogs(catalogs)))
    if args.prometheus is not None:
        metrics.write(args.prometheus, measured.of_look(watched, last), last)
    others = [*(str(error) for _, error in unmatched), *of_the_run]
    level = worst(watched, others)
    if not watched and unmatched:
        level = Level.UNKNOWN
    if invocation.json:
        failed = (record.with_error(invocation.name, error) for record, error in unmatched)
        for record in (*records, *failed):
            invocation.write(record.to_line())
    else:
        first, wrong = plugin.headline(level, watched, others, now), plugin.troubles(watched)
        show = _as_plugin if args.nagios else _show
        show(invocation, first, watched, [*wrong, *others], last, now)
    return level


def _of_every_host(
    invocation: Invocation,
    args: Args,
    catalogs: Sequence[Catalog],
    watched: Sequence[WatchedCarrier],
    neighbourhood: Neighbourhood,
    of_the_run: Sequence[str],
) -> Level:
    """Show the carriers of this host and of the others; return the state of all."""
    own, hosts = catalogs[0].storage.prefix, list(other_hosts(catalogs))
    neighbours = neighbourhood.look(hosts)
    found = worst_first((*(OfHost(own, carrier) for carrier in watched), *neighbours))
    records = [record for one in found for record in records_of_host(one, own)]
    readable = (catalog for _, catalog in hosts if isinstance(catalog, Catalog))
    explain = in_catalogs([*catalogs, *readable])
    unmatched = list(unmatched_among(records, invocation.patterns, explain))
    if any(one.unreadable for one in found):
        unmatched = []  # there may be what they match
    others = [*(str(error) for _, error in unmatched), *of_the_run]
    level = worst([one.watched for one in found], others)
    if invocation.json:
        failed = (record.with_error(invocation.name, error) for record, error in unmatched)
        invocation.write("".join(record.to_line() for record in (*records, *failed)))
    else:
        now, width, coloured = neighbourhood.clock.now, invocation.width, invocation.coloured
        first = hosts_table.headline(level, found, others, now)
        if args.nagios:
            every = [one.watched for one in found]
            wrong = [*(told for one in found for told in one.troubles), *others]
            _as_plugin(invocation, first, every, wrong, None, now)
            return level
        table = hosts_table.table(found, others, now, width, coloured=coloured)
        invocation.write(f"{first}{table}")
    return level


def _unknown(name: str, error: BackupError) -> int:
    """Say why there is no status, on standard output: Nagios reads nothing else.

    --help and signals keep their own exit status.
    """
    pipe.tell(f"{Level.UNKNOWN.name} - {name}: {error}")
    return Level.UNKNOWN


def _duration(option: str, text: str | None) -> timedelta | None:
    try:
        return None if text is None else duration(text)
    except ValueError as error:
        raise UsageError("usage", f"{option}: {error}") from error


def _of_the_run(
    last: LastRun | None, newest: tuple[datetime, bool] | None, clock: Clock
) -> Iterator[str]:
    """Yield what is wrong with the runs themselves."""
    if last is not None:
        ended = clock.shown(last.ended_at)
        yield from (f"in the run that ended at {ended}, {death}" for death in last.deaths)
        if last.status in (Exit.CONFIGURATION, Exit.USAGE):
            yield f"the run that ended at {ended} failed with status {last.status}"
    if newest is not None and not newest[1] and (last is None or newest[0] > last.began_at):
        yield f"the run that began at {clock.shown(newest[0])} was killed"


def _as_plugin(
    invocation: Invocation,
    headline: str,
    watched: Sequence[WatchedCarrier],
    troubles: Sequence[str],
    last: LastRun | None,
    now: datetime,
) -> None:
    invocation.write(plugin.output(headline, troubles, watched, last, now))


def _show(
    invocation: Invocation,
    headline: str,
    watched: Sequence[WatchedCarrier],
    troubles: Sequence[str],
    last: LastRun | None,
    now: datetime,
) -> None:
    """Show the headline and the table. troubles: all that is wrong."""

    def paint(row: int, line: str) -> str:
        chosen = colour(watched[row - 1]) if row else None
        return painted(line, chosen, coloured=invocation.coloured)

    invocation.write(f"{headline}\n")
    if watched:
        most = 1 if (invocation.width or _WIDE) < _WIDE else 2
        rows = list(_rows(watched, now, most))
        ages = frozenset(range(2, len(rows[0]) - len(_HEADING_OF_CHAINS)))
        invocation.write("\n" + formats.table(rows, ages, invocation.width, paint))
    if troubles:
        width = invocation.width or _USUAL_WIDTH
        lines = "\n".join(formats.wrapped(trouble, width) for trouble in troubles)
        invocation.write(f"\n{lines}\n")
    if last is not None:
        ago, took = formats.age(last.ended_at, now), last.ended_at - last.began_at
        invocation.write(
            f"\nthe last run ended {ago} ago with status {last.status} "
            f"and took {formats.duration(took.total_seconds())}\n"
        )


def _rows(watched: Sequence[WatchedCarrier], now: datetime, most: int) -> Iterator[Sequence[str]]:
    """Yield the rows of the table. most: how many of the next times each tells.

    A column tells how old the newest copies in further stores are, where a carrier is copied, and
    one how old the end of the WAL in S3 is, where a carrier has any.
    """
    with_wal = any(carrier.log for carrier in watched)
    with_copies = any(carrier.health.copied for carrier in watched)
    more = (*(["COPIED"] if with_copies else ()), *(["WAL"] if with_wal else ()))
    yield (*_HEADING, *more, *_HEADING_OF_CHAINS)
    for carrier in watched:
        health = carrier.health
        proved = max(carrier.proved.values(), default=None)
        times = [health.base, health.incremental, health.uploaded, proved]
        if with_copies:
            times.append(_oldest(health.copied.values()))
        if with_wal:
            times.append(carrier.log.reached if carrier.log else None)
        ages = (formats.age(time, now) for time in times)
        chains = links(health.chain), _next(health, now, most)
        yield (state(carrier), carrier.carrier, *ages, *chains)


def _oldest(times: Collection[datetime | None]) -> datetime | None:
    """Return the oldest time; None where one is missing, or all are."""
    known = [time for time in times if time is not None]
    return min(known, default=None) if len(known) == len(times) else None


def _next(health: Health, now: datetime, most: int) -> str:
    due = sorted((time, kind) for time, kind in _due(health) if time is not None)
    return ", ".join(f"{kind} {formats.age(now, time)}" for time, kind in due[:most]) or "-"


def _due(health: Health) -> tuple[tuple[datetime | None, str], ...]:
    return (health.next_base, "base"), (health.next_incremental, "incr")
