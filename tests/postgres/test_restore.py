"""Tables and views come back equal (in place, beside, over), or the target is unchanged."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres import zoo
from tests.postgres.restoring import (
    Restoring,
    beside,
    definitions,
    in_place,
    indexes,
    inhabitants,
    rows,
    session,
    table,
    view,
)
from tests.postgres.taking import DISABLED, LOCAL, Taking, ask, index_of, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.base import Restored
from three_backup.sources.postgres.index import Tier


@pytest.fixture
def space(server_folder: Path, live: PostgresServer) -> Iterator[str]:
    folder = server_folder / "space"
    folder.mkdir()
    shutil.copystat(live.pgdata, folder)
    shutil.chown(folder, live.pgdata.owner(), live.pgdata.group())
    run(live, "postgres", f"CREATE TABLESPACE {zoo.TABLESPACE} LOCATION '{folder}'")
    yield zoo.TABLESPACE
    run(live, "postgres", f"DROP TABLESPACE {zoo.TABLESPACE}")
    shutil.rmtree(folder)


@pytest.fixture
def animals(live: PostgresServer, space: str) -> Iterator[str]:
    """A database with a table of every kind; `copy` beside it is dropped as well."""
    run(live, "postgres", "CREATE DATABASE zoo")
    run(live, "zoo", *zoo.STATEMENTS)
    yield "zoo"
    for database in ("zoo", "copy"):
        run(live, "postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def test_every_kind_of_object_comes_back_equal_into_a_new_database(
    live: PostgresServer, animals: str, taking: Taking, restoring: Restoring
) -> None:
    objects = [table(animals, name, "app") for name in zoo.TABLES]
    objects += [view(animals, name, "app") for name in zoo.VIEWS]
    chain = [taking.take()]
    run(live, animals, *zoo.CHANGES)
    chain.append(taking.take(chain[-1]))
    run(live, animals, *zoo.MORE_CHANGES)
    chain.append(taking.take(chain[-1]))

    outcomes = restoring.all(chain, *(beside(object_id, level1="copy") for object_id in objects))

    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)]
    assert failures == []
    run(live, animals, "TRUNCATE app.fleeting")  # unlogged: no backup has its rows
    assert definitions(live, "copy") == definitions(live, animals)
    for object_id in objects:
        if object_id.level3 != "later":
            copied = replace(object_id, level1="copy")
            assert rows(live, copied) == rows(live, object_id), object_id
    assert ask(live, "copy", "SELECT nextval('app.shared')") == ask(
        live, animals, "SELECT nextval('app.shared')"
    )
    identities = "INSERT INTO app.rich (span) VALUES ('(-2,-1)') RETURNING (id, number, ticket)"
    assert ask(live, "copy", identities) == ask(live, animals, identities)


def test_odd_names_come_back_where_they_were_and_beside(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    with session(live, database) as connection:
        for name in zoo.ODD_NAMES:
            quoted = name.replace('"', '""')
            connection.execute(f'CREATE SCHEMA "{quoted}"'.encode())
            connection.execute(
                f'CREATE TABLE "{quoted}"."{quoted}" ("{quoted}" serial PRIMARY KEY)'.encode()
            )
            connection.execute(
                f'INSERT INTO "{quoted}"."{quoted}" SELECT FROM generate_series(1, 3)'.encode()
            )
    objects = [table(database, name, name) for name in zoo.ODD_NAMES]
    before = {object_id: rows(live, object_id) for object_id in objects}
    chain = [taking.take()]
    for name in zoo.ODD_NAMES:
        quoted = name.replace('"', '""')
        run(live, database, f'DROP SCHEMA "{quoted}" CASCADE')

    outcomes = restoring.all(chain, *map(in_place, objects))
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert {object_id: rows(live, object_id) for object_id in objects} == before

    wanted = [beside(object_id, level3=f"{object_id.level3[:20]}_copy") for object_id in objects]
    outcomes = restoring.all(chain, *wanted)
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert {copy.object: rows(live, copy.target) for copy in wanted} == before
    assert len(indexes(live, wanted[0].target)) == 1


SHOP = (
    "CREATE TABLE customer (id int PRIMARY KEY, name text)",
    "INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 20) i",
    "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customer, what text)",
    "CREATE INDEX by_what ON orders (what)",
    """INSERT INTO orders (customer, what)
       SELECT i % 20 + 1, 'w' || i FROM generate_series(1, 50) i""",
    "CREATE VIEW big AS SELECT * FROM orders WHERE id > 40",
)


@pytest.fixture
def shop(live: PostgresServer, database: str) -> str:
    run(live, database, *SHOP)
    return database


def test_an_existing_table_is_refused_and_stays_as_it_is(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    before = inhabitants(live, shop)
    with pytest.raises(BackupError, match="it exists already"):
        restoring.one(chain, in_place(table(shop, "orders")))
    assert inhabitants(live, shop) == before


def test_overwrite_replaces_the_table_and_keeps_its_names(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, shop, "DROP VIEW big")
    orders = table(shop, "orders")
    before, names = rows(live, orders), definitions(live, shop)
    chain = [taking.take()]
    run(live, shop, "DELETE FROM orders WHERE id > 10", "ALTER TABLE orders ADD young int")

    restored = restoring.one(chain, in_place(orders), overwrite=True)

    assert restored.facts["rows"] == 50
    assert rows(live, orders) == before
    assert definitions(live, shop) == names


def test_overwrite_never_drops_what_depends_on_the_table(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, shop, "DELETE FROM orders WHERE id > 45")
    before, left = inhabitants(live, shop), rows(live, table(shop, "orders"))
    with pytest.raises(BackupError, match=r"depend on it .*view public.big"):
        restoring.one(chain, in_place(table(shop, "orders")), overwrite=True)
    assert inhabitants(live, shop) == before
    assert rows(live, table(shop, "orders")) == left


def test_what_depends_on_one_another_is_replaced_together_or_not_at_all(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    orders, customer, big = table(shop, "orders"), table(shop, "customer"), view(shop, "big")
    before, names = (
        [rows(live, object_id) for object_id in (orders, customer, big)],
        definitions(live, shop),
    )
    chain = [taking.take()]
    run(live, shop, "UPDATE orders SET what = 'x'", "UPDATE customer SET name = 'y'")

    outcomes = restoring.all(chain, *map(in_place, (orders, customer, big)), overwrite=True)

    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert [rows(live, object_id) for object_id in (orders, customer, big)] == before
    assert definitions(live, shop) == names
    run(live, shop, "CREATE VIEW later AS SELECT * FROM customer", "DELETE FROM orders")
    outcomes = restoring.all(chain, *map(in_place, (orders, customer, big)), overwrite=True)
    refused = outcomes[customer]
    assert isinstance(refused, BackupError)
    assert "view public.later" in refused.message


def test_a_copy_beside_has_names_of_its_own(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, shop, "CREATE TABLE orders_copy_pkey ()")
    copy = table(shop, "orders_copy")

    restored = restoring.one(chain, beside(table(shop, "orders"), level3="orders_copy"))

    assert rows(live, copy) == rows(live, table(shop, "orders"))
    followed, renamed = indexes(live, copy)
    assert followed == "orders_copy_by_what"
    assert renamed.startswith("orders_copy_pkey_")
    assert restored.notes == (f'the name "orders_copy_pkey" is taken: it is "{renamed}" now',)
    serial = ask(live, shop, "SELECT pg_get_serial_sequence('orders_copy', 'id')")
    assert serial == "public.orders_copy_id_seq"


def test_copies_that_are_restored_together_belong_together(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    objects = [view(shop, "big"), table(shop, "orders"), table(shop, "customer")]
    outcomes = restoring.all(chain, *(beside(object_id, level2="attic") for object_id in objects))
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert "FROM attic.orders" in ask(live, shop, "SELECT pg_get_viewdef('attic.big'::regclass)")
    assert "REFERENCES attic.customer" in ask(
        live,
        shop,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'attic.orders'::regclass AND contype = 'f'",
    )


def test_rows_arrive_though_a_foreign_key_cannot(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, shop, "DROP TABLE orders, customer CASCADE")
    restored = restoring.one(chain, in_place(table(shop, "orders")))
    assert restored.facts["rows"] == 50
    (note,) = restored.notes
    assert "orders_customer_fkey" in note
    assert 'relation "public.customer" does not exist' in note


def test_a_view_is_refused_where_its_tables_are_not(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, shop, "DROP TABLE orders CASCADE")
    before = inhabitants(live, shop)
    with pytest.raises(BackupError, match=r"cannot be without table public\.orders"):
        restoring.one(chain, in_place(view(shop, "big")))
    assert inhabitants(live, shop) == before


def test_a_failure_leaves_neither_objects_nor_a_database_behind(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    with pytest.raises(BackupError, match="cannot be without"):
        restoring.one(chain, beside(view(shop, "big"), level1="nowhere"))
    assert (
        ask(live, "postgres", "SELECT count(*) FROM pg_database WHERE datname = 'nowhere'") == "0"
    )


def test_one_broken_object_does_not_stop_the_others(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, shop, "DROP TABLE orders CASCADE")
    wanted = [in_place(table(shop, name)) for name in ("customer", "never", "orders")]
    outcomes = restoring.all(chain, *wanted)
    assert {target.level3: isinstance(one, Restored) for target, one in outcomes.items()} == {
        "customer": False,
        "never": False,
        "orders": True,
    }


def test_a_table_is_what_it_was_at_each_link_of_the_chain(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    orders, chain, states = table(shop, "orders"), [taking.take()], []
    states.append(rows(live, orders))
    for change in ("UPDATE orders SET what = 'x' WHERE id < 5", "ALTER TABLE orders ADD n int"):
        run(live, shop, change)
        chain.append(taking.take(chain[-1]))
        states.append(rows(live, orders))
    run(live, shop, "DROP TABLE orders CASCADE")
    for length, state in enumerate(states, start=1):
        restoring.one(chain[:length], in_place(orders), overwrite=True)
        assert rows(live, orders) == state


def test_names_that_were_swapped_in_the_chain_lead_to_the_right_rows(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    a, b = table(shop, "a"), table(shop, "b")
    run(live, shop, "CREATE TABLE a AS SELECT 'a'", "CREATE TABLE b AS SELECT 'b'")
    chain = [taking.take()]
    swap = ("ALTER TABLE a RENAME TO c", "ALTER TABLE b RENAME TO a", "ALTER TABLE c RENAME TO b")
    run(live, shop, *swap, "VACUUM FULL a")
    chain.append(taking.take(chain[-1]))
    outcomes = restoring.all(chain, in_place(a), beside(b, level3="d"), overwrite=True)
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert (rows(live, a), rows(live, table(shop, "d"))) == ([("(b)",)], [("(a)",)])


def test_two_tables_can_swap_their_names_on_the_way(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    a, b = table(shop, "a"), table(shop, "b")
    run(live, shop, "CREATE TABLE a AS SELECT 'a'", "CREATE TABLE b AS SELECT 'b'")
    chain = [taking.take()]
    outcomes = restoring.all(chain, beside(a, level3="b"), beside(b, level3="a"), overwrite=True)
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    assert (rows(live, a), rows(live, b)) == ([("(b)",)], [("(a)",)])


MEASUREMENTS = (
    "CREATE TABLE m (at int, v text) PARTITION BY RANGE (at)",
    "CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM (10) TO (20)",
    "CREATE INDEX ON m (at)",
    "INSERT INTO m SELECT i, 'v' || i FROM generate_series(0, 19) i",
)


def test_a_partition_comes_back_into_its_table(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *MEASUREMENTS)
    whole, names = rows(live, table(database, "m")), definitions(live, database)
    chain = [taking.take()]
    run(live, database, "DROP TABLE m_2")
    assert restoring.one(chain, in_place(table(database, "m_2"))).notes == ()
    assert rows(live, table(database, "m")) == whole
    run(live, database, "DELETE FROM m_1")
    restoring.one(chain, in_place(table(database, "m_1")), overwrite=True)
    assert rows(live, table(database, "m")) == whole
    assert definitions(live, database) == names


def test_a_partition_stands_alone_beside_its_table_or_without_it(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *MEASUREMENTS)
    chain, partition = [taking.take()], table(database, "m_1")
    before = rows(live, partition)
    restored = restoring.one(chain, beside(partition, level3="copy"))
    assert restored.notes == ("it stands alone, not as a part of public.m",)
    assert rows(live, table(database, "copy")) == before
    run(live, database, "DROP TABLE m")
    restored = restoring.one(chain, in_place(partition))
    assert 'relation "public.m" does not exist' in restored.notes[0]
    assert rows(live, partition) == before


def test_a_partitioned_table_brings_its_whole_tree_under_new_names(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *MEASUREMENTS)
    chain = [taking.take()]
    restored = restoring.one(chain, beside(table(database, "m"), level3="n"))
    assert restored.facts["rows"] == 20
    assert rows(live, table(database, "n")) == rows(live, table(database, "m"))
    assert indexes(live, table(database, "n_2")) == ["n_2_at_idx"]
    tree = "SELECT string_agg(relid::text, ' ') FROM pg_partition_tree('n')"
    assert ask(live, database, tree) == "n n_1 n_2"


def test_a_table_of_an_extension_leaves_it(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, shop, "CREATE EXTENSION citext", "ALTER EXTENSION citext ADD TABLE customer")
    chain = [taking.take()]
    restored = restoring.one(chain, beside(table(shop, "customer"), level3="copy"))
    assert restored.facts["rows"] == 20
    assert restored.notes == ('it is no part of extension "citext" any more',)


def test_a_disabled_table_cannot_come_back_and_the_reason_is_said(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    taking.settings[table(shop, "customer")] = DISABLED
    chain = [taking.take()]
    with pytest.raises(BackupError, match="was disabled when the snapshot was taken"):
        restoring.one(chain, beside(table(shop, "customer"), level3="copy"))


def test_rows_that_never_left_their_host_come_back_there_only(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    taking.settings[table(shop, "customer")] = LOCAL
    snapshot = taking.take()
    wanted = beside(table(shop, "customer"), level3="copy")
    (taking.folder / str(snapshot.manifest.snapshot) / Tier.LOCAL.pack).rename(
        taking.folder / "elsewhere"
    )
    with pytest.raises(BackupError, match="never left the host"):
        restoring.one([snapshot], wanted)
    (taking.folder / "elsewhere").rename(
        taking.folder / str(snapshot.manifest.snapshot) / Tier.LOCAL.pack
    )
    assert restoring.one([snapshot], wanted).facts["rows"] == 20


def test_a_damaged_table_is_noticed_and_does_not_stop_the_others(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain, orders = [taking.take()], table(shop, "orders")
    index = index_of(chain[0])
    (path, *_) = index.objects[orders]
    frame = index.groups[index.files[path].group or 0].frames[0]
    pack = taking.folder / str(chain[0].manifest.snapshot) / Tier.S3.pack
    content = bytearray(pack.read_bytes())
    content[frame.offset + 20] ^= 1
    pack.write_bytes(content)

    wanted = [
        beside(object_id, level3=f"{object_id.level3}_copy")
        for object_id in (orders, table(shop, "customer"))
    ]
    broken, whole = restoring.all(chain, *wanted).values()

    assert isinstance(broken, BackupError)
    assert "is damaged" in str(broken)
    assert isinstance(whole, Restored)


def test_a_materialized_view_without_a_superuser_has_todays_rows(
    live: PostgresServer,
    shop: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(live, shop, "CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM orders")
    run(live, shop, "CREATE ROLE plain LOGIN", f"GRANT CREATE ON DATABASE {shop} TO plain")
    run(live, shop, "GRANT SELECT ON orders TO plain", "GRANT CREATE ON SCHEMA public TO plain")
    chain = [taking.take()]
    run(live, shop, "DELETE FROM orders WHERE id = 1")
    restoring.one(chain, beside(view(shop, "total"), level3="super"))
    monkeypatch.setenv("PGUSER", "plain")
    restored = restoring.one(chain, beside(view(shop, "total"), level3="plain"))
    owner, todays = restored.notes
    assert owner.startswith('it cannot be given to "postgres": ')
    assert "its rows are those of today's tables" in todays
    assert rows(live, view(shop, "super")) == [("(50)",)]
    assert rows(live, view(shop, "plain")) == [("(49)",)]
    run(live, shop, "DROP OWNED BY plain", "DROP ROLE plain")
