"""Moments on both sides of a failover, and of a cluster that goes on from a moment of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import Landing, Wanted, WholeJob
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import position
from three_backup.sources.postgres.wal.timelines import way_to

from .archiving import Archiving, standby_of, until
from .past import Past, contents, past
from .rebuilding import running
from .restoring import table
from .taking import EVERYWHERE, ask, run

ORDERS, RETURNS = table("shop", "orders"), table("shop", "returns")
KEPT = {"wal_keep_size": "4GB"}
MOMENTS = ("before", "at the switch", "after", "later")


def archiving(place: Past) -> Archiving:
    return Archiving(replace(place.store.storage, local_dir=place.work.parent / "local"))


@contextmanager
def entered(place: Past, server: PostgresServer) -> Iterator[None]:
    """Let all be done with another server during the block."""
    before, place.server = place.server, server
    with pytest.MonkeyPatch.context() as environment:
        for name, value in server.environ.items():
            environment.setenv(name, value)
        yield
    place.server = before


def _begin(place: Past) -> None:
    place.execute("CREATE DATABASE shop", database="postgres")
    place.execute(
        "CREATE TABLE orders (n int PRIMARY KEY, word text)",
        "INSERT INTO orders SELECT n, 'old' FROM generate_series(1, 3000) n",
        "CREATE TABLE returns AS SELECT n FROM generate_series(1, 50) n",
    )
    archiving(place).pull()
    place.snapshot()
    place.execute("UPDATE orders SET word = 'before' WHERE n % 2 = 0")
    place.mark("before", ORDERS)


def _fail_over(place: Past, new: PostgresServer) -> None:
    """Let the standby take over while the old primary writes on; archive both, and snapshots."""
    flushed = ask(place.server, "shop", "SELECT pg_current_wal_flush_lsn()")
    until(lambda: ask(new, "shop", f"SELECT pg_last_wal_replay_lsn() >= '{flushed}'") == "True")
    run(new, "shop", "SELECT pg_promote()")
    place.execute(
        "INSERT INTO orders SELECT -n, 'lost' FROM generate_series(1, 500) n",
        "UPDATE orders SET word = 'lost' WHERE n > 1000",
        "DROP TABLE returns",
    )
    archiving(place).pull()
    place.snapshot(base=True)  # of the timeline that was left
    place.execute("INSERT INTO orders VALUES (-1000, 'lost, too')")
    with entered(place, new):
        place.execute("INSERT INTO orders SELECT n, 'new' FROM generate_series(3001, 3100) n")
        place.mark("at the switch", ORDERS)
        place.execute("DELETE FROM orders WHERE n % 3 = 0", "SELECT pg_switch_wal()")
        place.mark("after", ORDERS)
        archiving(place).pull()
        place.snapshot(base=True)
        place.execute("UPDATE orders SET word = word || ', later'")
        place.mark("later", ORDERS, RETURNS)
        place.execute("DROP TABLE returns", "TRUNCATE orders")
        archiving(place).pull()
    archiving(place).pull()


@pytest.fixture(scope="module", params=[17, 18])
def promoted(
    request: pytest.FixtureRequest, server_folder: Path, seaweed: SeaweedServer
) -> Iterator[Past]:
    """A past that a standby went on with; the old primary and its archiving went on, too."""
    folder, bucket = server_folder / f"promoted{request.param}", f"promoted-{request.param}"
    folder.mkdir(mode=0o711)
    seaweed.create_bucket(bucket)
    with past(folder, request.param, seaweed, bucket) as place:
        _begin(place)
        with standby_of(place.server, folder / "standby", KEPT) as new:
            _fail_over(place, new)
            with entered(place, new):
                yield place
    seaweed.delete_bucket(bucket)
    shutil.rmtree(folder)


def restored(place: Past, landing: Landing | None, wanted: ObjectId) -> Restored:
    """Restore the object into the database `past`, in which nothing else is left afterwards."""
    assert landing is not None
    target = replace(wanted, level1="past")
    ((_, outcome),) = PostgresSource().restore(place.job(landing, Wanted(wanted, target)))
    assert list(place.work.iterdir()) == []
    assert not isinstance(outcome, BackupError), outcome
    return outcome


@pytest.fixture
def fresh(promoted: Past) -> Iterator[Past]:
    yield promoted
    promoted.execute("DROP DATABASE IF EXISTS past WITH (FORCE)", database="postgres")


@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_is_that_of_the_server_that_went_on(fresh: Past, name: str) -> None:
    landing = PostgresSource().landing(fresh.find(Moment(time=fresh.moments[name])))
    assert landing is not None
    expected = fresh.chain[2 if name == "later" else 0].manifest
    assert landing.snapshot == expected.snapshot
    restored(fresh, landing, ORDERS)
    found = contents(fresh.server, replace(ORDERS, level1="past"))
    assert found == fresh.held[name, ORDERS]
    assert not [row for (row,) in found if "lost" in row]


def test_a_drop_is_that_of_the_server_that_went_on(fresh: Past) -> None:
    """The old primary dropped the table, too, but earlier."""
    landing = PostgresSource().drops(fresh.find(Moment(before_drop=True)))(str(RETURNS))
    restored(fresh, landing, RETURNS)
    assert contents(fresh.server, replace(RETURNS, level1="past")) == fresh.held["later", RETURNS]


def test_a_position_before_and_after_the_switch_is_reached(fresh: Past) -> None:
    way = way_to(2, WalArchive(fresh.store, fresh.carrier).histories())
    switch = way.legs[0].end
    assert switch is not None
    for lsn, words in ((switch - 8, {"old", "before"}), (None, {"old", "before", "new"})):
        at = Moment(lsn=_lsn_of(fresh, "after")) if lsn is None else Moment(lsn=_spelt(lsn))
        landing = PostgresSource().landing(fresh.find(at))
        restored(fresh, landing, ORDERS)
        with fresh.connect("past") as connection:
            found = connection.execute("SELECT DISTINCT word FROM orders").fetchall()
        assert {word for (word,) in found} == words
        fresh.execute("DROP DATABASE past WITH (FORCE)", database="postgres")


def _spelt(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _lsn_of(place: Past, name: str) -> str:
    """Return a position just after the moment: where the snapshot taken then began."""
    assert name == "after"
    return str(place.chain[2].manifest.facts["start_lsn"])


def test_what_an_old_primary_noted_says_nothing_of_the_timeline_that_goes_on(
    promoted: Past,
) -> None:
    archive = WalArchive(promoted.store, promoted.carrier)
    told = archive.reached()
    assert told is not None
    assert told.timeline == 2  # the last to archive was the old primary, on timeline 1
    late = told.at + timedelta(minutes=1)
    since = position(promoted.chain[2].manifest.facts["end_lsn"])
    archive.note_reached(replace(told, timeline=1, lsn=since, at=late))
    try:
        landing = PostgresSource().landing(promoted.find(Moment(time=late)))
        assert landing is not None
        assert not landing.stop["complete"]
    finally:
        archive.note_reached(told)


def test_a_cluster_restored_to_a_moment_archives_a_timeline_of_its_own(
    server_folder: Path, seaweed: SeaweedServer, bucket: str
) -> None:
    folder = server_folder / "own-timeline"
    folder.mkdir(mode=0o711)
    with past(folder, 18, seaweed, bucket) as place:
        _begin(place)
        place.execute("UPDATE orders SET word = 'abandoned'", "DROP TABLE returns")
        archiving(place).pull()
        _rebuild(place, folder / "rebuilt", "before")
        with running(folder / "rebuilt", place.server) as rebuilt, entered(place, rebuilt):
            assert contents(rebuilt, ORDERS) == place.held["before", ORDERS]
            assert archiving(place).pull().timeline == 2
            place.execute("INSERT INTO orders SELECT -n, 'own' FROM generate_series(1, 99) n")
            place.mark("own", ORDERS, RETURNS)
            place.execute("TRUNCATE orders", "DROP TABLE returns")
            archiving(place).pull()
            source = PostgresSource()
            for name in ("before", "own"):
                landing = source.landing(place.find(Moment(time=place.moments[name])))
                restored(place, landing, ORDERS)
                found = contents(rebuilt, replace(ORDERS, level1="past"))
                assert found == place.held[name, ORDERS]
                place.execute("DROP DATABASE past WITH (FORCE)", database="postgres")
            landing = source.drops(place.find(Moment(before_drop=True)))(str(RETURNS))
            restored(place, landing, RETURNS)
            found = contents(rebuilt, replace(RETURNS, level1="past"))
            assert found == place.held["own", RETURNS]
            _rebuild(place, folder / "again", "own")
        with running(folder / "again", place.server) as again:
            assert contents(again, ORDERS) == place.held["own", ORDERS]
            run(again, "shop", "CHECKPOINT")
            assert ask(again, "shop", "SELECT timeline_id FROM pg_control_checkpoint()") == "3"
    shutil.rmtree(folder)


def _rebuild(place: Past, folder: Path, name: str) -> None:
    """Restore the whole cluster to a moment."""
    landing = PostgresSource().landing(place.find(Moment(time=place.moments[name])))
    folder.mkdir(mode=0o711)
    PostgresSource().restore_whole(
        WholeJob(
            chain=place.chain[:1],
            directory=folder / "pgdata",
            moved={},
            owner=None,
            source_settings=EVERYWHERE,
            advance=lambda size: None,
            say=lambda sentence: None,
            landing=landing,
            store=place.store,
        )
    )
