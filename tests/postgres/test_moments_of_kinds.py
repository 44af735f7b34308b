"""Objects of many kinds, as they were at a moment between two snapshots."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError
from three_backup.model.moment import Moment
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import Say
from three_backup.sources.postgres.source import PostgresSource

from .past import Past, contents, past, silent
from .restoring import beside, table, view
from .taking import ask

EVENTS, LOW, HIGH = (table("shop", name) for name in ("events", "events_low", "events_high"))
TICKETS, INVOICES = table("shop", "tickets"), table("shop", "invoices")
FILES, REPORT = table("shop", "files"), view("shop", "report")
MOVED, MADE = table("shop", "stock", "present"), table("shop", "made")
PARENT, CHILD = table("shop", "parent"), table("shop", "child")
QUICK, QUICKER = table("shop", "quick"), table("shop", "quicker")
DECIDED = table("shop", "decided")
_FILE = "decode(repeat('{}', 300000), 'hex')"


def _begin(place: Past) -> None:
    place.execute("CREATE DATABASE shop", database="postgres")
    place.execute(
        "CREATE TABLE events (n int, word text) PARTITION BY RANGE (n)",
        "CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (1000)",
        "CREATE TABLE events_mid PARTITION OF events FOR VALUES FROM (1000) TO (2000)",
        "CREATE INDEX ON events (word)",
        "INSERT INTO events SELECT n, 'event ' || n FROM generate_series(0, 1999) n",
        "CREATE TABLE tickets (id serial PRIMARY KEY, word text)",
        "INSERT INTO tickets (word) SELECT 'old' FROM generate_series(1, 5)",
        "CREATE TABLE invoices (id int GENERATED ALWAYS AS IDENTITY (START 100), word text)",
        "INSERT INTO invoices (word) SELECT 'old' FROM generate_series(1, 5)",
        "CREATE TABLE files (n int, content oid)",
        f"INSERT INTO files SELECT n, lo_from_bytea(5000 + n, {_FILE.format('aa')})"
        " FROM generate_series(1, 3) n",
        "CREATE MATERIALIZED VIEW report AS SELECT count(*), sum(id) FROM tickets",
        "CREATE SCHEMA bygone",
        "CREATE TABLE bygone.stock AS SELECT n, 'piece' AS word FROM generate_series(1, 500) n",
        "CREATE TABLE parent (id int PRIMARY KEY, word text)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
        "INSERT INTO parent SELECT n, 'old' FROM generate_series(1, 100) n",
        "INSERT INTO child SELECT n, n FROM generate_series(1, 100) n",
        "CREATE UNLOGGED TABLE quick AS SELECT n FROM generate_series(1, 100) n",
        "CREATE TABLE decided AS SELECT n FROM generate_series(1, 100) n",
    )


def _happen(place: Past) -> None:
    """Change everything, before the moment."""
    place.execute(
        "ALTER TABLE events DETACH PARTITION events_low",
        "UPDATE events_low SET word = 'apart' WHERE n < 10",
        "CREATE TABLE events_high (n int, word text)",
        "INSERT INTO events_high SELECT n, 'high ' || n FROM generate_series(2000, 2999) n",
        "ALTER TABLE events ATTACH PARTITION events_high FOR VALUES FROM (2000) TO (3000)",
        "UPDATE events SET word = 'changed' WHERE n % 10 = 0",
        "INSERT INTO tickets (word) SELECT 'new' FROM generate_series(1, 250)",
        "INSERT INTO invoices (word) SELECT 'new' FROM generate_series(1, 250)",
        "SELECT lo_unlink(5002)",
        "SELECT lo_put(5001, 100000, 'changed')",
        f"INSERT INTO files SELECT 4, lo_from_bytea(5004, {_FILE.format('bb')})",
        "REFRESH MATERIALIZED VIEW report",
        "ALTER SCHEMA bygone RENAME TO present",
        "DELETE FROM present.stock WHERE n % 3 = 0",
        "INSERT INTO parent SELECT n, 'new' FROM generate_series(101, 150) n",
        "INSERT INTO child SELECT n, n - 50 FROM generate_series(101, 200) n",
        "DELETE FROM child WHERE id < 20",
        "DELETE FROM parent WHERE id < 20",
        "CREATE TABLE made (n int PRIMARY KEY, word text DEFAULT repeat('long ', 2000))",
        "INSERT INTO made SELECT generate_series(1, 700)",
        "INSERT INTO quick SELECT n FROM generate_series(1, 100) n",
        "CREATE UNLOGGED TABLE quicker AS SELECT n FROM generate_series(1, 100) n",
        "BEGIN; INSERT INTO decided VALUES (-1); PREPARE TRANSACTION 'undecided'",
    )


def _change_all_again(place: Past) -> None:
    """Undo or change everything, after the moment."""
    place.execute(
        "COMMIT PREPARED 'undecided'",
        "ALTER TABLE events DETACH PARTITION events_high",
        "ALTER TABLE events ATTACH PARTITION events_low FOR VALUES FROM (0) TO (1000)",
        "TRUNCATE events, events_high, tickets, invoices, files, made, decided, child, parent",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        "REFRESH MATERIALIZED VIEW report",
        "ALTER SCHEMA present RENAME TO future",
        "SELECT setval('tickets_id_seq', 1), setval('invoices_id_seq', 100)",
    )


@pytest.fixture(scope="module", params=[17, 18])
def varied(
    request: pytest.FixtureRequest, server_folder: Path, seaweed: SeaweedServer
) -> Iterator[Past]:
    folder, bucket = server_folder / f"varied{request.param}", f"varied-{request.param}"
    folder.mkdir(mode=0o711)
    seaweed.create_bucket(bucket)
    with past(folder, request.param, seaweed, bucket) as place:
        _begin(place)
        place.snapshot()
        _happen(place)
        known = (EVENTS, LOW, HIGH, TICKETS, INVOICES, FILES, REPORT, MOVED, MADE, PARENT, CHILD)
        place.mark("then", *known, DECIDED)
        place.held["large", FILES] = _large_objects(place, "shop")
        _change_all_again(place)
        place.archive()
        yield place
    seaweed.delete_bucket(bucket)
    shutil.rmtree(folder)


@pytest.fixture
def back(varied: Past) -> Iterator[Callable[..., Sequence[Restored]]]:
    """Restores objects together to the moment, into the database `past`."""

    def restored(*wanted: ObjectId, say: Say = silent) -> Sequence[Restored]:
        return _restored(varied, *wanted, say=say)

    yield restored
    varied.execute("DROP DATABASE IF EXISTS past WITH (FORCE)", database="postgres")


def _restored(place: Past, *wanted: ObjectId, say: Say = silent) -> Sequence[Restored]:
    landing = PostgresSource().landing(place.find(Moment(time=place.moments["then"])))
    job = place.job(landing, *(beside(known, level1="past") for known in wanted), say=say)
    outcomes = [outcome for _, outcome in PostgresSource().restore(job)]
    assert list(place.work.iterdir()) == []
    for outcome in outcomes:
        assert not isinstance(outcome, BackupError), outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Restored)]


def _then(place: Past, object_id: ObjectId) -> list[tuple[object, ...]]:
    return contents(place.server, beside(object_id, level1="past").target)


def _large_objects(place: Past, database: str) -> list[tuple[object, ...]]:
    query = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"
    with place.connect(database) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    "wanted", [EVENTS, LOW, HIGH, MOVED, MADE, DECIDED], ids=lambda wanted: wanted.level3
)
def test_it_has_the_rows_that_it_had(
    varied: Past, back: Callable[..., Sequence[Restored]], wanted: ObjectId
) -> None:
    (outcome,) = back(wanted)
    assert _then(varied, wanted) == varied.held["then", wanted]
    assert outcome.facts["rows"] == len(varied.held["then", wanted]) > 0


def test_a_tree_has_the_partitions_that_it_had(
    varied: Past, back: Callable[..., Sequence[Restored]]
) -> None:
    back(EVENTS)
    partitions = "SELECT string_agg(relid::text, ' ' ORDER BY relid::text)"
    partitions += " FROM pg_partition_tree('events') WHERE isleaf"
    assert ask(varied.server, "past", partitions) == "events_high events_mid"


@pytest.mark.parametrize("wanted", [TICKETS, INVOICES], ids=lambda wanted: wanted.level3)
def test_the_next_number_is_one_that_no_row_has(
    varied: Past, back: Callable[..., Sequence[Restored]], wanted: ObjectId
) -> None:
    back(wanted)
    assert _then(varied, wanted) == varied.held["then", wanted]
    with varied.connect("past") as connection:
        ((newest,),) = connection.execute(f"SELECT max(id) FROM {wanted.level3}".encode())
        query = f"INSERT INTO {wanted.level3} (word) VALUES ('next') RETURNING id"
        ((following,),) = connection.execute(query.encode())
    assert newest < following <= newest + 33  # a server logs 32 numbers ahead


def test_large_objects_have_the_content_that_they_had(
    varied: Past, back: Callable[..., Sequence[Restored]]
) -> None:
    (outcome,) = back(FILES)
    assert _then(varied, FILES) == varied.held["then", FILES]
    assert "large objects that its rows name came with it: 3" in outcome.notes
    found = _large_objects(varied, "past")
    assert found == varied.held["large", FILES]
    assert [number for number, _ in found] == [5001, 5003, 5004]


def test_a_materialized_view_has_the_rows_of_its_last_refresh(
    varied: Past, back: Callable[..., Sequence[Restored]]
) -> None:
    back(TICKETS, REPORT)
    assert _then(varied, REPORT) == varied.held["then", REPORT] == [("(255,32640)",)]


def test_two_tables_with_a_foreign_key_fit_one_another(
    varied: Past, back: Callable[..., Sequence[Restored]]
) -> None:
    back(CHILD, PARENT)
    for wanted in (CHILD, PARENT):
        assert _then(varied, wanted) == varied.held["then", wanted]
    valid = "SELECT string_agg(convalidated::text, ' ') FROM pg_constraint WHERE contype = 'f'"
    assert ask(varied.server, "past", valid) == "true"


@pytest.mark.parametrize("wanted", [QUICK, QUICKER], ids=lambda wanted: wanted.level3)
def test_an_unlogged_table_comes_back_empty(
    varied: Past, back: Callable[..., Sequence[Restored]], wanted: ObjectId
) -> None:
    back(wanted)
    assert _then(varied, wanted) == []


def test_a_transaction_prepared_then_is_told(
    varied: Past, back: Callable[..., Sequence[Restored]]
) -> None:
    said: list[str] = []
    back(DECIDED, say=said.append)
    (told,) = said
    assert told.startswith("shop: transaction undecided was prepared, not committed, at that")


@pytest.mark.parametrize(("version", "megabytes"), [(17, 64), (18, 1)])
def test_segments_may_have_any_size(
    server_folder: Path, seaweed: SeaweedServer, bucket: str, version: int, megabytes: int
) -> None:
    folder = server_folder / f"segments-{megabytes}"
    folder.mkdir(mode=0o711)
    orders = table("shop", "orders")
    with past(folder, version, seaweed, bucket, initdb=[f"--wal-segsize={megabytes}"]) as place:
        place.execute("CREATE DATABASE shop", database="postgres")
        place.execute("CREATE TABLE orders (n int PRIMARY KEY, word text)")
        place.snapshot()
        rows = "SELECT n, repeat(md5(n::text), 30) FROM generate_series({}, {}) n"
        place.execute(f"INSERT INTO orders {rows.format(1, 9000)}", "SELECT pg_switch_wal()")
        place.execute(f"INSERT INTO orders {rows.format(9001, 12000)}")
        place.execute("CREATE DATABASE beside STRATEGY file_copy", "DROP DATABASE beside")
        place.mark("then", orders)
        place.execute("DELETE FROM orders", "SELECT pg_switch_wal()")
        place.archive()
        (outcome,) = _restored(place, orders)
        assert _then(place, orders) == place.held["then", orders]
        assert outcome.facts["rows"] == 12000
        assert outcome.facts["moment"]["wal_bytes"] % (megabytes << 20) == 0
    shutil.rmtree(folder)
