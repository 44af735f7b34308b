"""Tables as they were at any second between two snapshots, out of archived WAL."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.s3.mended import Mended
from three_backup.s3.spares import Spares
from three_backup.s3.store import Store
from three_backup.sources.base import Restored
from three_backup.sources.jobs import Wanted, WholeJob
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import lsn
from three_backup.sources.postgres.wal.span import Span

from .past import Past, contents, past
from .rebuilding import running
from .restoring import table
from .taking import EVERYWHERE, ask, run

ORDERS = table("shop", "orders")
Event = Callable[[Past], None]


def _sql(*statements: str) -> Event:
    return lambda place: place.execute(*statements)


def _prepared(place: Past) -> None:
    """One transaction is prepared before the moment and committed after it."""
    with place.connect() as connection:
        connection.autocommit = False
        connection.execute(
            "INSERT INTO orders SELECT -n, 'prepared' FROM generate_series(40, 49) n"
        )
        connection.execute("PREPARE TRANSACTION 'half'")
        connection.commit()


def _subtransactions(place: Past) -> None:
    with place.connect() as connection, connection.transaction():
        connection.execute("UPDATE orders SET note = 'outer' WHERE id = 3")
        with connection.transaction(force_rollback=True):
            connection.execute("UPDATE orders SET note = 'inner, undone' WHERE id < 100")
        with connection.transaction():
            connection.execute("INSERT INTO orders VALUES (-2, 'inner')")


EVENTS: Mapping[str, Event] = {
    "updates": _sql(
        "UPDATE orders SET note = note || '!' WHERE id % 7 = 0",
        "DELETE FROM orders WHERE id % 11 = 0",
        "INSERT INTO orders SELECT n, 'more' FROM generate_series(30001, 31000) n",
    ),
    "aborted": _sql("BEGIN; DELETE FROM orders; ROLLBACK; INSERT INTO orders VALUES (-1, 'kept')"),
    "subtransactions": _subtransactions,
    "prepared": _prepared,
    "committed": _sql("COMMIT PREPARED 'half'"),
    "vacuum full": _sql("VACUUM FULL orders", "UPDATE orders SET note = 'v' WHERE id = 5"),
    "cluster": _sql("CLUSTER orders USING orders_pkey", "DELETE FROM orders WHERE id = 6"),
    "reindex": _sql("REINDEX TABLE orders", "INSERT INTO orders VALUES (-3, 'r')"),
    "toast": _sql(
        "INSERT INTO orders SELECT -10 - n, (SELECT string_agg(md5((n * m)::text), '')"
        " FROM generate_series(1, 900) m) FROM generate_series(1, 20) n"
    ),
    "alter": _sql(
        "ALTER TABLE orders ADD COLUMN price numeric DEFAULT 7", "UPDATE orders SET price = id"
    ),
    "rewritten": _sql("ALTER TABLE orders ALTER COLUMN price TYPE text USING price || ' EUR'"),
    "truncated": _sql("TRUNCATE orders", "INSERT INTO orders VALUES (1, 'new', '1')"),
    "swapped": _sql(
        "CREATE TABLE later (LIKE orders INCLUDING ALL)",
        "INSERT INTO later SELECT n, 'swapped in', n FROM generate_series(1, 5000) n",
        "BEGIN; ALTER TABLE orders RENAME TO before; ALTER TABLE later RENAME TO orders; COMMIT",
    ),
    "swapped back": _sql(
        "BEGIN; ALTER TABLE orders RENAME TO later; ALTER TABLE before RENAME TO orders; COMMIT",
        "INSERT INTO orders VALUES (77, 'is back', '77')",
    ),
    "moved": _sql(
        "CREATE SCHEMA attic",
        "ALTER TABLE orders SET SCHEMA attic",
        "CREATE TABLE orders AS SELECT n AS id, 'other' AS note FROM generate_series(1, 9) n",
    ),
    "databases": _sql(
        "CREATE DATABASE beside",
        "CREATE DATABASE copied STRATEGY file_copy",
        "DROP DATABASE beside",
        "UPDATE orders SET note = 'after databases' WHERE id = 2",
    ),
    "tablespaces": lambda place: place.execute(
        f"CREATE TABLESPACE fast LOCATION '{_tablespace(place)}'",
        "ALTER TABLE orders SET TABLESPACE fast",
        "INSERT INTO orders VALUES (20, 'moved to another disk')",
    ),
    "unlogged": _sql("ALTER TABLE orders SET UNLOGGED", "ALTER TABLE orders SET LOGGED"),
}


def _tablespace(place: Past) -> Path:
    """A folder with a name of so many bytes that WAL writes its length in another way."""
    folder = place.server.folder / "fast" / ("long" * 50) / ("name" * 20)
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        owner = place.server.pgdata.stat()
        for path in (folder, *folder.parents[:2]):
            shutil.chown(path, owner.st_uid, owner.st_gid)
    assert len(str(folder)) > 255
    return folder


@pytest.fixture(scope="module", params=[17, 18])
def eventful(
    request: pytest.FixtureRequest, server_folder: Path, seaweed: SeaweedServer
) -> Iterator[Past]:
    """A past in which all of EVENTS happened after the only snapshot, a moment after each."""
    folder, bucket = server_folder / f"past{request.param}", f"past-{request.param}"
    folder.mkdir(mode=0o711)
    seaweed.create_bucket(bucket)
    with past(folder, request.param, seaweed, bucket) as place:
        place.execute("CREATE DATABASE shop", database="postgres")
        place.execute(
            "CREATE TABLE orders (id int PRIMARY KEY, note text)",
            "INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 20000) n",
            "CREATE TABLE bystander AS SELECT n FROM generate_series(1, 20000) n",
            "CREATE VIEW totals AS SELECT count(*) FROM orders",
            "DELETE FROM orders WHERE id BETWEEN 100 AND 120",
        )
        place.snapshot()
        for name, event in EVENTS.items():
            event(place)
            place.mark(name, ORDERS)
        place.execute("UPDATE orders SET note = 'too late'")
        place.archive()
        yield place
    seaweed.delete_bucket(bucket)
    shutil.rmtree(folder)


def restored(place: Past, moment: Moment, wanted: ObjectId, target: ObjectId) -> Restored:
    """Restore one object to a moment; raise its BackupError."""
    landing = PostgresSource().landing(place.find(moment))
    assert landing is not None
    job = place.job(landing, Wanted(wanted, target))
    ((_, outcome),) = PostgresSource().restore(job)
    assert list(place.work.iterdir()) == []
    if isinstance(outcome, BackupError):
        raise outcome
    return outcome


@pytest.mark.parametrize("name", EVENTS)
def test_a_table_comes_back_as_it_was_at_a_moment(eventful: Past, name: str) -> None:
    target = table("past", "orders")
    outcome = restored(eventful, Moment(time=eventful.moments[name]), ORDERS, target)
    try:
        assert contents(eventful.server, target) == eventful.held[name, ORDERS]
        reached = outcome.facts["moment"]
        assert datetime.fromisoformat(reached["committed"]) <= eventful.moments[name]
    finally:
        eventful.execute("DROP DATABASE IF EXISTS past WITH (FORCE)", database="postgres")


@pytest.mark.parametrize("name", ["committed", "swapped", "tablespaces"])
def test_a_whole_cluster_starts_at_a_moment(
    eventful: Past, server_folder: Path, name: str
) -> None:
    landing = PostgresSource().landing(eventful.find(Moment(time=eventful.moments[name])))
    folder = server_folder / f"whole-{eventful.server.version}-{name}"
    folder.mkdir(mode=0o711)
    try:
        outcome = PostgresSource().restore_whole(
            WholeJob(
                chain=eventful.chain,
                directory=folder / "pgdata",
                moved={},
                owner=None,
                source_settings=EVERYWHERE,
                advance=lambda size: None,
                say=lambda sentence: None,
                landing=landing,
                store=eventful.store,
            )
        )
        assert not (folder / "pgdata" / "recovery.signal").exists()
        committed = outcome.facts["moment"]["committed"]
        assert datetime.fromisoformat(committed) <= eventful.moments[name]
        with running(folder, eventful.server) as server:
            assert contents(server, ORDERS) == eventful.held[name, ORDERS]
            assert ask(server, "shop", "SELECT count(*) FROM bystander") == "20000"
            run(server, "shop", "INSERT INTO bystander VALUES (0)", "CHECKPOINT")
            assert ask(server, "shop", "SELECT timeline_id FROM pg_control_checkpoint()") == "2"
    finally:
        shutil.rmtree(folder)


def test_redo_writes_nothing_into_the_folder_of_a_tablespace_made_since(eventful: Past) -> None:
    fast = _tablespace(eventful)
    eventful.execute("CHECKPOINT")  # the live server itself removes old files
    before = {path: path.stat().st_mtime_ns for path in fast.rglob("*")}
    moment = Moment(time=eventful.moments["unlogged"])
    outcome = restored(eventful, moment, ORDERS, table("past", "orders"))
    eventful.execute("DROP DATABASE past WITH (FORCE)", database="postgres")
    assert any(str(fast) in note for note in outcome.notes)
    assert {path: path.stat().st_mtime_ns for path in fast.rglob("*")} == before


def test_a_moment_before_the_only_snapshot_is_none_that_wal_leads_to(eventful: Past) -> None:
    early = Span.of(eventful.chain[0].manifest).since - timedelta(seconds=1)
    assert PostgresSource().landing(eventful.find(Moment(time=early))) is None


def test_wal_with_a_gap_leads_no_further_than_to_the_gap(eventful: Past) -> None:
    """A restore never leaps over WAL that is missing."""
    archive = WalArchive(eventful.store, eventful.carrier)
    lost = archive.pieces()[-2]
    content = archive.read(lost)
    archive.delete([lost])
    try:
        moment = Moment(time=eventful.moments["unlogged"])
        outcome = restored(eventful, moment, ORDERS, table("past", "orders"))
        assert any("the archived WAL ends before that moment" in note for note in outcome.notes)
        landing = PostgresSource().landing(eventful.find(moment))
        job = replace(
            eventful.job(landing, Wanted(ORDERS, table("exact", "orders"))),
            options={"exact": True},
        )
        with pytest.raises(BackupError, match="ends before that moment"):
            list(PostgresSource().restore(job))
        end = lsn(archive.pieces()[-1].end)
        with pytest.raises(BackupError, match="no archived WAL leads"):
            PostgresSource().landing(eventful.find(Moment(lsn=end)))
    finally:
        archive.put(lost, content)
        eventful.execute("DROP DATABASE IF EXISTS past WITH (FORCE)", database="postgres")


def test_a_damaged_piece_ends_the_restore_with_its_name(eventful: Past) -> None:
    archive = WalArchive(eventful.store, eventful.carrier)
    piece = archive.pieces()[-1]
    content = archive.read(piece)
    key = next(key for key in eventful.store.all_names("wal/") if key.endswith(piece.key))
    body = bytearray(eventful.store.read(key))
    body[len(body) // 2] ^= 1
    eventful.store.write(key, bytes(body))
    try:
        moment = Moment(time=eventful.moments["unlogged"])
        with pytest.raises(BackupError, match=rf"{piece.key}: this piece of WAL is damaged"):
            restored(eventful, moment, ORDERS, table("past", "orders"))
        assert list(eventful.work.iterdir()) == []
    finally:
        archive.put(piece, content)


def test_wal_that_is_damaged_or_gone_comes_from_a_further_store(eventful: Past) -> None:
    first = eventful.store
    copied = Store(replace(first.storage, prefix="copies", store="vault"))
    bodies = {key: first.read(key) for key in first.all_names("wal/")}
    for key, body in bodies.items():
        copied.write(key, body)
    *gone, damaged = sorted(key for key in bodies if key.endswith(".zst"))
    first.write(damaged, bodies[damaged][:-7] + bytes(7))
    first.delete([*gone, *(key for key in bodies if key.endswith("reached.json"))])
    said: list[str] = []
    first.spares = Spares([copied], Mended(said.append))
    try:
        moment = Moment(time=eventful.moments["unlogged"])
        restored(eventful, moment, ORDERS, table("past", "orders"))
        held = eventful.held["unlogged", ORDERS]
        assert contents(eventful.server, table("past", "orders")) == held
        assert sum(first.spares.mended.bytes.values()) > 1 << 20
        (sentence,) = said  # of all pieces
        assert "what is wanted of it comes from store vault" in sentence
    finally:
        first.spares = Spares()
        for key, body in bodies.items():
            first.write(key, body)
        eventful.execute("DROP DATABASE IF EXISTS past WITH (FORCE)", database="postgres")


def test_a_database_that_was_copied_as_files_has_the_rows_of_its_template(
    server_folder: Path, seaweed: SeaweedServer, bucket: str
) -> None:
    """Redo copies the folder of the template, of which a restore lays out only what it needs."""
    folder = server_folder / "templates"
    folder.mkdir(mode=0o711)
    copied = table("copied", "orders")
    with past(folder, 18, seaweed, bucket) as place:
        place.execute("CREATE DATABASE shop", database="postgres")
        place.execute("CREATE TABLE orders AS SELECT generate_series(1, 20000) AS id")
        place.snapshot()
        place.execute("DELETE FROM orders WHERE id > 15000")
        copy = "CREATE DATABASE copied TEMPLATE shop STRATEGY file_copy"
        place.execute(copy, database="postgres")
        place.mark("copied", copied)
        place.execute("DROP DATABASE copied", database="postgres")
        place.archive()
        outcome = restored(place, Moment(time=place.moments["copied"]), copied, copied)
        assert contents(place.server, copied) == place.held["copied", copied]
        assert outcome.facts["rows"] == 15000
    shutil.rmtree(folder)


def test_a_database_that_got_another_ones_name_is_the_one_that_had_it_then(
    server_folder: Path, seaweed: SeaweedServer, bucket: str
) -> None:
    folder = server_folder / "renamed"
    folder.mkdir(mode=0o711)
    with past(folder, 17, seaweed, bucket) as place:
        for name, number in (("shop", 1), ("next", 2)):
            place.execute(f"CREATE DATABASE {name}", database="postgres")
            place.execute(f"CREATE TABLE orders AS SELECT {number} AS id", database=name)
        place.snapshot()
        for old, new in (("shop", "old"), ("next", "shop")):
            place.execute(f"ALTER DATABASE {old} RENAME TO {new}", database="postgres")
        place.mark("swapped", ORDERS)
        place.archive()
        target = table("shop", "orders_then")
        restored(place, Moment(time=place.moments["swapped"]), ORDERS, target)
        assert contents(place.server, target) == place.held["swapped", ORDERS] == [("(2)",)]
    shutil.rmtree(folder)
