"""The commands of three_backup-recovery(7) work exactly as printed."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

import pytest

from tests.lab import versioned
from tests.lab.forked import Forked
from tests.pipeline.conftest import Host, store
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.host.machine import Host as Machine
from three_backup.s3.ownership import claim

_PAGE = (Path(__file__).parents[2] / "man/three_backup-recovery.7").read_text()
_SECTION = re.compile(r"^\.S[hs] ([^\n]+)\n(.*?)(?=^\.S[hs] |\Z)", re.MULTILINE | re.DOTALL)
SHOP = """
create table customers (id int primary key, name text);
insert into customers select i, 'customer ' || i from generate_series(1, 50) i;
create table orders (id int primary key, customer int references customers, note text);
insert into orders select i, 1 + i % 50, 'note ' || i from generate_series(1, 1000) i;
create view totals as select customer, count(*) from orders group by customer;
"""
_HITS = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.hits ENGINE MergeTree ORDER BY id AS SELECT number AS id FROM numbers(999)",
    "CREATE VIEW shop.few AS SELECT id FROM shop.hits WHERE id < 10",
)
_IN_A_MACHINE = ["A container or a volume is lost, or broken"]
"""Tested by tests/lxd, since LXD and ZFS run in a virtual machine."""
_IN_DEBIAN = Path(__file__).with_name("test_fresh_debian.py")
_RUNUSER = """#!/bin/sh
shift 3
exec "$@"
"""
"""Debian's: the servers here let their administrator in by the environment, whoever asks."""
_MOMENT = "2026-11-29 22:00"
_ORDERS = "select count(*), sum(length(note)), md5(string_agg(note, ',' order by id)) from orders"


def commands(section: str) -> list[str]:
    """Return the commands of a section, in their order. One may tell a difference."""
    texts = [text for name, text in _SECTION.findall(_PAGE) if name == section]
    assert texts, section
    found = re.findall(r"^\.Dl (.*)$", texts[0], re.MULTILINE)
    return [f"{line} || test $? = 1" if line.startswith("tb-diff ") else line for line in found]


class Worst(Host):
    """The host db1 and both of its servers; their databases `shop` are backed up once."""

    clickhouse: ClickhouseServer

    def follow(self, section: str, moment: str = "") -> None:
        """Run the section's commands; each must succeed. moment: in place of the page's."""
        for command in commands(section):
            self.good(command.replace(_MOMENT, moment) if moment else command)

    def hits(self) -> list[tuple[object, ...]]:
        return self.clickhouse.rows(
            "SELECT (SELECT count() FROM shop.hits), (SELECT count() FROM shop.few)"
        )

    def become_another(self) -> None:
        """Make another host the owner of what is stored."""
        claim(store(self, "db1"), Machine("the lost host"), adopt=True)

    def lose_postgres(self) -> None:
        self.execute("drop database if exists shop with (force)", "postgres")

    def lose_clickhouse(self) -> None:
        self.clickhouse.execute("DROP DATABASE IF EXISTS shop SYNC")


@pytest.fixture(scope="module")
def worst(
    server_folder: Path, clickhouse: ClickhouseServer, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Worst]:
    """A host with a PostgreSQL server of its own: tests lose and restore the whole server."""
    folder = server_folder / "db1"
    folder.mkdir(mode=0o711)
    versioned.create_versioned(seaweed, "worst")
    seaweed.create_bucket("worst-copies")
    with PostgresServer(server_folder / "worst", 17) as postgres:
        host = Worst(folder, "shop", postgres, seaweed, "worst", tools).real
        yield from _worst(host, clickhouse)
    seaweed.delete_bucket("worst")
    seaweed.delete_bucket("worst-copies")


def _worst(host: Worst, clickhouse: ClickhouseServer) -> Iterator[Worst]:
    host.clickhouse = clickhouse
    programs = host.folder / "programs"
    programs.mkdir()
    (programs / "runuser").write_text(_RUNUSER)
    (programs / "runuser").chmod(0o755)
    path = f"{programs}:{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    host.configure(s3_prefix="db1")
    host.execute("create database shop", "postgres")
    host.execute(SHOP)
    for statement in _HITS:
        clickhouse.execute(statement)
    host.good("tb-run -s '*/shop/*'")
    yield host
    host.lose_clickhouse()


@pytest.fixture
def orders(worst: Worst) -> list[tuple[object, ...]]:
    return worst.rows(_ORDERS)


def test_a_table_of_postgresql_that_was_dropped(
    worst: Worst, orders: list[tuple[object, ...]]
) -> None:
    worst.execute("drop table orders cascade")
    worst.follow("A table was dropped, or emptied")
    assert worst.rows(_ORDERS) == orders
    worst.good("tb-restore postgres/view/shop/public/totals")


def test_a_bad_update(worst: Worst, orders: list[tuple[object, ...]]) -> None:
    worst.execute(
        "update orders set note = 'oops' where id < 100; delete from orders where id > 9"
    )
    worst.follow("A bad UPDATE or DELETE")
    assert worst.rows(_ORDERS) == orders


def test_a_database_of_postgresql_that_was_dropped(
    worst: Worst, orders: list[tuple[object, ...]]
) -> None:
    worst.lose_postgres()
    worst.follow("A database was dropped")
    assert worst.rows(_ORDERS) == orders
    assert worst.rows("select count(*) from totals") == [(50,)]


def test_a_table_of_clickhouse(worst: Worst) -> None:
    before = worst.hits()
    worst.clickhouse.execute("DROP TABLE shop.hits SYNC")
    worst.follow("A table was dropped")
    assert worst.hits() == before
    worst.clickhouse.execute("ALTER TABLE shop.hits DELETE WHERE id < 5 SETTINGS mutations_sync=1")
    worst.follow("Rows of a table are wrong")
    assert worst.hits() == before


def test_a_database_of_clickhouse(worst: Worst) -> None:
    before = worst.hits()
    worst.lose_clickhouse()
    worst.follow("A database was dropped, or the server is lost")
    assert worst.hits() == before


def test_a_lost_host(worst: Worst, orders: list[tuple[object, ...]]) -> None:
    before = worst.hits()
    worst.become_another()
    refused = worst.sh("tb-discover -s postgres | tb-snapshot | tb-upload")
    assert "another host writes there" in refused.stderr
    worst.wipe()
    worst.lose_postgres()
    worst.lose_clickhouse()
    worst.configure(s3_prefix="db2")
    assert "hosts stored below db1" in worst.good("tb-list --stored").stderr
    worst.configure(s3_prefix="db1")
    worst.follow("THE HOST IS LOST")
    assert (worst.rows(_ORDERS), worst.hits()) == (orders, before)
    worst.follow("AFTERWARDS")


def test_a_lost_server_whose_tables_go_to_a_fresh_one(
    worst: Worst, orders: list[tuple[object, ...]]
) -> None:
    worst.lose_postgres()
    worst.follow("The server is lost, and a fresh one shall have its tables")
    assert worst.rows(_ORDERS) == orders


def test_a_table_that_was_dropped_after_the_last_snapshot(worst: Worst) -> None:
    worst.configure(s3_prefix="db1", wal="pull")
    worst.good("tb-wal pull --adopt")
    worst.good("tb-discover -s postgres | tb-snapshot --base | tb-upload")
    worst.execute("update orders set note = 'the last word' where id = 7")
    before = worst.rows(_ORDERS)
    worst.execute("drop table orders cascade")
    worst.follow("A table was dropped, and the log is archived")
    assert worst.rows(_ORDERS) == before
    worst.good("tb-restore --before-drop postgres/view/shop/public/totals")


def test_stolen_keys_and_a_lost_signing_key(worst: Worst) -> None:
    """What was signed with a key that is lost is foreign, until it is adopted with a new one."""
    for key in ("5a" * 32, "6b" * 32):
        (worst.folder / "signing.key").write_text(key)
        (worst.folder / "signing.key").chmod(0o600)
        worst.configure(s3_prefix="db1", manifest_key_file=worst.folder / "signing.key")
        worst.wipe()
        assert "not signed by manifest_key" in worst.sh("tb-list --stored").stderr
        worst.follow("The key that signs manifests is lost")
        assert worst.good("tb-list --stored").stderr == ""
    worst.follow("Somebody has the keys of the bucket")
    worst.configure(s3_prefix="db1")


def test_an_emptied_bucket_and_a_host_that_was_broken_into(
    worst: Worst, orders: list[tuple[object, ...]]
) -> None:
    hits = worst.hits()
    place = f"s3_endpoint: {worst.s3.endpoint}\n        s3_bucket: worst-copies"
    keys = f"s3_access_key: {worst.s3.access_key}\n        s3_secret_key: {worst.s3.secret_key}"
    stores = f"- stores:\n    vault:\n        {place}\n        {keys}\n"
    worst.configure(stores, s3_prefix="db1")
    moment = just_now()
    s3 = store(worst, "db1")
    s3.delete(list(s3.all_names("")))
    worst.wipe()
    assert worst.good("tb-list --stored").stdout == ""
    worst.execute("drop table orders cascade")
    worst.lose_clickhouse()
    worst.follow("Snapshots were deleted or overwritten", moment)
    worst.good("tb-restore --store vault postgres/view/shop/public/totals")
    worst.good("tb-restore --store vault clickhouse/view/default/shop/few")
    assert (worst.rows(_ORDERS), worst.hits()) == (orders, hits)
    moment = just_now()
    worst.execute("update orders set note = 'your files are encrypted'")
    worst.good("tb-run --base -s '*/shop/*'")
    worst.execute("drop table orders cascade")  # the new host has none
    worst.become_another()
    worst.follow("Somebody was root on the host", moment)
    assert worst.rows(_ORDERS) == orders
    worst.configure(s3_prefix="db1")


def test_a_lost_encryption_key(worst: Worst, orders: list[tuple[object, ...]]) -> None:
    worst.configure(s3_prefix="sealed", encryption_key="5a" * 32)
    worst.good("tb-run -s '*/shop/*'")
    worst.configure(s3_prefix="sealed", encryption_key="6b" * 32)
    checked = worst.sh("tb-check -s s3")
    assert checked.status == 1
    assert "cannot be restored without key" in " ".join(checked.stdout.split())
    worst.configure(s3_prefix="sealed-2", encryption_key="6b" * 32)
    worst.follow("The key that encrypts is lost")
    worst.wipe()
    worst.execute("drop table orders cascade")
    worst.good("tb-restore 'postgres/*/shop/public/orders' 'postgres/view/shop/public/totals'")
    assert worst.rows(_ORDERS) == orders
    worst.configure(s3_prefix="db1")


def just_now() -> str:
    """Return a moment of this second, after which all is of another one."""
    sleep(1.1)
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    sleep(1.1)
    return moment


def test_every_command_of_the_page_is_rehearsed() -> None:
    texts = (path.read_text() for path in (Path(__file__), _IN_DEBIAN))
    rehearsed = {name for text in texts for name in re.findall(r'follow\("([^"]+)"', text)}
    printed = [name for name, text in _SECTION.findall(_PAGE) if ".Dl " in text]
    assert sorted([*rehearsed, *_IN_A_MACHINE]) == sorted(printed)
