"""tb-demo - a backup and a restore from beginning to end, on servers of its own

Usage:
  tb-demo [options]

Options:
      --keep     leave the servers running, and say how to play with them and how to end them
  -h, --help     show this
      --version  show the version

Starts a PostgreSQL, a ClickHouse and an S3 server on loopback in a temporary folder, backs up a
shop, undoes a wrong UPDATE, loses a table of each and brings both back. Takes a minute or two,
touches nothing else and cleans up.
"""

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import indent
from typing import Any, Self

from three_backup import pipe
from three_backup.demo import shop, visits
from three_backup.demo.scene import BUCKET, Scene, scene
from three_backup.demo.shop import DATABASE, LOST_TABLE, SPOILT_TABLE, TableContents
from three_backup.demo.show import Show
from three_backup.errors import BackupError, Exit
from three_backup.pipe import Invocation
from three_backup.screen import formats

_LOST = f"postgres/table/{DATABASE}/public/{LOST_TABLE}"
_SPOILT = f"postgres/table/{DATABASE}/public/{SPOILT_TABLE}"
_MOST_LINES = 7
_LOST_VISITS = f"clickhouse/table/default/{visits.DATABASE}/{visits.LOST_TABLE}"
_SUFFIX = "_yesterday"
_SECONDS_UNNOTICED = 2
"""How long customers buy after the last snapshot."""

_KEPT = """\

Everything is left running in {folder}. In this or another shell:

    . {env}
    tb-list --snapshots
    tb-list --stages
    tb-discover | tb-plan
    tb-restore --level1-suffix _copy 'postgres/table/shop/*'
    psql -d shop
    clickhouse-client --query 'SELECT count() FROM shop.visits'

When you have seen enough, this ends the servers and removes the folder:

    sh {stop}
"""


@dataclass(frozen=True, slots=True)
class Args:
    keep: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(keep=bool(arguments["--keep"]))


@dataclass(frozen=True, slots=True)
class _Before:
    """The contents of the tables before they were lost."""

    payments: TableContents
    visits: TableContents
    at_the_drop: TableContents  # the payments of a moment that no snapshot has


@dataclass(frozen=True, slots=True)
class _Backups:
    """The snapshots that the two runs took, and how long each run took."""

    seconds: tuple[float, float]
    payments: list[dict[str, Any]]
    visits: list[dict[str, Any]]


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> int:
    args = Args.of(invocation.arguments)
    # When the terminal closes, clean up as after SIGTERM.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    started = time.monotonic()
    with scene(keep=args.keep) as place:
        show = Show(invocation.write, place.environ)
        _open(show, place, time.monotonic() - started)
        first = _back_up_everything(show)
        second = _back_up_what_changed(show, place)
        _mend_a_wrong_update(show, place)
        before = _lose_a_table(show, place)
        restored = _bring_it_back(show, place, before)
        taken = _snapshots(show, _LOST), _snapshots(show, _LOST_VISITS)
        backups = _Backups((first, second), *taken)
        invocation.write(_summary(backups, before, restored, time.monotonic() - started))
        if args.keep:
            place.write_stop()
            invocation.write(_KEPT.format(folder=place.folder, env=place.env, stop=place.stop))
    return 0


def _open(show: Show, place: Scene, seconds: float) -> None:
    show.step("A PostgreSQL with a shop in it, a ClickHouse with its visitors, and an S3 server")
    place.write_files()
    shop.create(place.conninfo("postgres"))
    rows = shop.fill(place.conninfo(DATABASE))
    size = formats.size(shop.size(place.conninfo(DATABASE)))
    visitors = visits.fill(place.clickhouse)
    visits_size = formats.size(visits.size(place.clickhouse))
    show.outcome(
        f"PostgreSQL {place.postgres.version}, ClickHouse and SeaweedFS are up on loopback after "
        f"{formats.duration(seconds)}, in {place.folder}\n"
        f"PostgreSQL's database {DATABASE} has about {round(rows, -3):,} rows, {size}\n"
        f"ClickHouse's database {visits.DATABASE} has {visitors:,} visits, {visits_size}\n"
        f"{place.configuration} says what goes where:"
    )
    show.aside(_without_secret(place))
    show.typed(f". {place.env}")
    show.aside("puts this configuration and the tools into the environment of a shell")


def _back_up_everything(show: Show) -> float:
    show.step("The first run takes base backups; ClickHouse writes its own straight to S3")
    ran = show.run("tb-run")
    show.success(f"done in {formats.duration(ran.seconds)}")
    return ran.seconds


def _back_up_what_changed(show: Show, place: Scene) -> float:
    show.step("The shop goes on; the next run takes only what changed")
    due = datetime.now(UTC).timestamp() // 60 * 60 + 60
    show.outcome(
        f"an incremental is due every minute; customers buy until {_clock(due)} "
        f"({formats.duration(due - time.time())})"
    )
    orders = shop.trade(place.conninfo(DATABASE), _reached(due))
    more = visits.visit(place.clickhouse)
    show.outcome(f"{orders:,} more orders and {more:,} more visits")
    ran = show.run("tb-run")
    show.success(f"done in {formats.duration(ran.seconds)}")
    return ran.seconds


def _mend_a_wrong_update(show: Show, place: Scene) -> None:
    show.step("Somebody runs a wrong UPDATE; what it did is seen and undone without a restore")
    database = place.conninfo(DATABASE)
    before = shop.contents(database, SPOILT_TABLE)
    show.typed(f"psql -d {DATABASE} -c '{shop.WRONG}'")
    shop.execute(database, shop.WRONG)
    lines = show.watch("tb-diff", "--rows", _SPOILT, good=Exit.FAILED).stdout.splitlines()
    show.aside("\n".join((*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES} more lines")))
    show.typed(f"tb-diff --sql {_SPOILT} > mend.sql")
    mending = show.ask("tb-diff", "--sql", _SPOILT, good=Exit.FAILED).stdout
    show.aside(next(line for line in mending.splitlines() if line.startswith("UPDATE")))
    show.typed(f"psql -d {DATABASE} -f mend.sql")
    shop.execute(database, mending)
    _compare(show, SPOILT_TABLE, before, shop.contents(database, SPOILT_TABLE))


def _lose_a_table(show: Show, place: Scene) -> _Before:
    payments = shop.contents(place.conninfo(DATABASE), LOST_TABLE)
    show.step("A bad day: customers buy, and then somebody drops two tables")
    orders = shop.trade(place.conninfo(DATABASE), _reached(time.time() + _SECONDS_UNNOTICED))
    before = _Before(
        payments,
        visits.contents(place.clickhouse, visits.LOST_TABLE),
        shop.contents(place.conninfo(DATABASE), LOST_TABLE),
    )
    show.outcome(
        f"{orders:,} orders that no snapshot has: {LOST_TABLE} has {before.at_the_drop.rows:,} "
        "rows when it is lost"
    )
    show.typed(f"psql -d {DATABASE} -c 'DROP TABLE {LOST_TABLE}'")
    shop.drop(place.conninfo(DATABASE), LOST_TABLE)
    show.typed(f"clickhouse-client -q 'DROP TABLE {visits.DATABASE}.{visits.LOST_TABLE}'")
    visits.drop(place.clickhouse, visits.LOST_TABLE)
    show.aside("cron brings the log of PostgreSQL into S3, every minute say:")
    show.run("tb-wal", "pull")
    show.typed(f"rm -rf {place.local_dir}")
    shutil.rmtree(place.local_dir)
    show.outcome(f"the local snapshots are gone, too: what is left lies in s3://{BUCKET}")
    return before


def _bring_it_back(show: Show, place: Scene, before: _Before) -> tuple[float, float]:
    show.step("The tables come back out of S3; that of PostgreSQL to the instant of its drop")
    seconds = _restore(show, "--before-drop", _LOST)
    found_now = shop.contents(place.conninfo(DATABASE), LOST_TABLE)
    _compare(show, LOST_TABLE, before.at_the_drop, found_now)
    visits_seconds = _restore(show, _LOST_VISITS)
    found = visits.contents(place.clickhouse, visits.LOST_TABLE)
    _compare(show, visits.LOST_TABLE, before.visits, found)
    show.step("And as it was in the last snapshot, beside it, under another name")
    _restore(show, "--level3-suffix", _SUFFIX, _LOST)
    beside = LOST_TABLE + _SUFFIX
    _compare(show, beside, before.payments, shop.contents(place.conninfo(DATABASE), beside))
    show.step("What there is now")
    show.run("tb-list", "--snapshots")
    return seconds, visits_seconds


def _restore(show: Show, *arguments: str) -> float:
    ran = show.watch("tb-restore", *arguments)
    restored = ran.records()[0]["restored"]
    show.aside(f"{formats.size(restored['bytes_read'])} read out of {restored['snapshot']}")
    return ran.seconds


def _compare(show: Show, table: str, before: TableContents, found: TableContents) -> None:
    if found != before:
        raise BackupError(
            "demo.different",
            f"table {table} came back with {found.rows:,} rows that hash to {found.digest}; "
            f"{before.rows:,} rows that hash to {before.digest} were lost",
            "please report this",
        )
    show.success(f"{table}: {found.rows:,} rows, hash {found.digest}, exactly what was lost")


def _snapshots(show: Show, object_id: str) -> list[dict[str, Any]]:
    records = show.ask("tb-list", "--snapshots", "--json", "--select", object_id).records()
    found: list[dict[str, Any]] = records[0]["snapshots"]
    return found


def _summary(
    backups: _Backups, before: _Before, restored: tuple[float, float], total: float
) -> str:
    rows: list[tuple[str, ...]] = [("", "PostgreSQL", f"ClickHouse, {visits.LOST_TABLE}", "")]
    for name, number in (("base backup", 0), ("incremental", 1)):
        sizes = (
            formats.size(taken[number]["size"]) for taken in (backups.payments, backups.visits)
        )
        rows.append((name, *sizes, f"{formats.duration(backups.seconds[number])} for both"))
    rows.append(
        (
            "table restored",
            f"{before.at_the_drop.rows:,} rows, {formats.duration(restored[0])}",
            f"{before.visits.rows:,} rows, {formats.duration(restored[1])}",
            "",
        )
    )
    rows.append(("all of it", "", "", formats.duration(total)))
    table = formats.table(rows, right=frozenset({1, 2, 3}))
    return "\nAll is well.\n" + indent(table, "   ")


def _without_secret(place: Scene) -> str:
    return place.configuration.read_text().replace(place.seaweed.secret_key, "(secret)")


def _reached(moment: float) -> Callable[[], bool]:
    return lambda: time.time() > moment


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%H:%M:%S")
