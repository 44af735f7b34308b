"""The instant before something was dropped, found in the WAL and nowhere else."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import Landing, Wanted
from three_backup.sources.postgres.source import PostgresSource

from .past import Past, contents, past
from .restoring import table, view

DROPPED = {
    "alone": table("shop", "alone"),
    "together": table("shop", "together"),
    "too": table("shop", "too"),
    "twice": table("shop", "twice"),
    "renamed": table("shop", "new_name"),
    "rewritten": table("shop", "rewritten"),
    "made since": table("shop", "made_since"),
    "partitioned": table("shop", "partitioned"),
    "in a subtransaction": table("shop", "nested"),
    "prepared": table("shop", "prepared"),
    "with its schema": table("shop", "inside", "attic"),
    "a view": view("shop", "seen"),
    "materialized": view("shop", "stored"),
    "truncated": table("shop", "emptied"),
    "before the snapshot": table("shop", "before"),
    "with its database": table("gone", "lost"),
}
_TABLES = ("alone", "together", "too", "twice", "old_name", "rewritten", "nested", "prepared")


def _happen(place: Past) -> None:
    """Let all of DROPPED happen, in an order in which each is followed by others."""

    def lost(name: str, *statements: str, database: str = "shop") -> None:
        place.mark(name, DROPPED[name])
        place.execute(
            *statements, "CREATE TEMP TABLE t (n int)", "DROP TABLE t", database=database
        )

    place.execute("UPDATE before SET n = n + 1")
    lost("before the snapshot", "DROP TABLE before")
    place.snapshot()
    place.execute("INSERT INTO alone VALUES (0)")
    lost("alone", "DROP TABLE alone")
    place.execute("DELETE FROM together WHERE n < 10", "INSERT INTO too VALUES (0)")
    place.mark("too", DROPPED["too"])
    lost("together", "DROP TABLE too, together")
    place.execute("DROP TABLE twice", "CREATE TABLE twice AS SELECT 'second' AS which")
    lost("twice", "DROP TABLE twice")
    place.execute("ALTER TABLE old_name RENAME TO new_name", "INSERT INTO new_name VALUES (0)")
    lost("renamed", "DROP TABLE new_name")
    place.execute("DELETE FROM rewritten WHERE n > 50", "VACUUM FULL rewritten")
    lost("rewritten", "DROP TABLE rewritten")
    place.execute("CREATE TABLE made_since AS SELECT generate_series(1, 3000) AS n")
    lost("made since", "DROP TABLE made_since")
    lost("partitioned", "DROP TABLE partitioned")
    lost("in a subtransaction", "BEGIN; SAVEPOINT s; DROP TABLE nested; RELEASE s; COMMIT")
    lost("prepared", "BEGIN; DROP TABLE prepared; PREPARE TRANSACTION 'd'")
    place.execute("COMMIT PREPARED 'd'")
    lost("with its schema", "DROP SCHEMA attic CASCADE")
    lost("a view", "DROP VIEW seen")
    lost("materialized", "DROP MATERIALIZED VIEW stored")
    lost("truncated", "TRUNCATE emptied")
    place.execute("INSERT INTO emptied VALUES (1)", "VACUUM FULL emptied", "REINDEX TABLE emptied")
    place.execute("INSERT INTO lost VALUES (0)", database="gone")
    place.mark("with its database", DROPPED["with its database"])
    place.execute("DROP DATABASE gone", database="postgres")
    place.execute("CREATE TABLE unrelated (n int)", "DROP TABLE unrelated")


@pytest.fixture(scope="module", params=[17, 18])
def lossy(
    request: pytest.FixtureRequest, server_folder: Path, seaweed: SeaweedServer
) -> Iterator[Past]:
    folder, bucket = server_folder / f"drops{request.param}", f"drops-{request.param}"
    folder.mkdir(mode=0o711)
    seaweed.create_bucket(bucket)
    with past(folder, request.param, seaweed, bucket) as place:
        for database in ("shop", "gone"):
            place.execute(f"CREATE DATABASE {database}", database="postgres")
        place.execute("CREATE TABLE lost AS SELECT generate_series(1, 99) AS n", database="gone")
        for name in (*_TABLES, "before", "emptied"):
            place.execute(f"CREATE TABLE {name} AS SELECT generate_series(1, 99) AS n")
        place.execute(
            "CREATE SCHEMA attic",
            "CREATE TABLE attic.inside AS SELECT generate_series(1, 99) AS n",
            "CREATE TABLE kept AS SELECT generate_series(1, 99) AS n",
            "CREATE VIEW seen AS SELECT n * 2 AS double FROM kept",
            "CREATE MATERIALIZED VIEW stored AS SELECT n * 3 AS triple FROM kept",
            "CREATE TABLE partitioned (n int) PARTITION BY RANGE (n)",
            "CREATE TABLE low PARTITION OF partitioned FOR VALUES FROM (0) TO (50)",
            "CREATE TABLE high PARTITION OF partitioned FOR VALUES FROM (50) TO (100)",
            "INSERT INTO partitioned SELECT generate_series(1, 99)",
        )
        place.snapshot()
        _happen(place)
        place.archive()
        yield place
    seaweed.delete_bucket(bucket)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def search(lossy: Past) -> Callable[[str], Landing | None]:
    """One search for all, as for several objects that an administrator asks for."""
    return PostgresSource().drops(lossy.find(Moment(before_drop=True)))


@pytest.mark.parametrize("name", DROPPED)
def test_what_was_dropped_comes_back_as_it_was_just_before(
    lossy: Past, search: Callable[[str], Landing | None], name: str
) -> None:
    lost = DROPPED[name]
    target = ObjectId("postgres", lost.subtype, "shop", lost.level2, f"{lost.level3}_then")
    landing = search(str(lost))
    assert list(lossy.work.iterdir()) == []
    ((_, outcome),) = PostgresSource().restore(lossy.job(landing, Wanted(lost, target)))
    assert not isinstance(outcome, BackupError), outcome
    assert contents(lossy.server, target) == lossy.held[name, lost]


def test_what_was_not_dropped_is_refused(search: Callable[[str], Landing | None]) -> None:
    with pytest.raises(BackupError, match=r"shop/public/kept: no drop of it is found.*--at TIME"):
        search("postgres/table/shop/public/kept")


def test_a_whole_database_is_found_just_before_its_drop(
    lossy: Past, search: Callable[[str], Landing | None]
) -> None:
    found = search("postgres/table/gone/*")
    carried = PostgresSource().objects_then(lossy.job(found), "postgres/table/gone/*")
    assert [str(held.id) for held in carried] == ["postgres/table/gone/public/lost"]
