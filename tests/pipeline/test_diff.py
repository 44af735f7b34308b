"""A comparison tells what the server itself tells, and its SQL leads back."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.conftest import Host
from tests.postgres import zoo

_TABLES = [name for name in zoo.TABLES if name not in ("fleeting", "young")]
_SINCE = (
    *zoo.CHANGES,
    *zoo.MORE_CHANGES,
    "INSERT INTO app.customer VALUES (21, 'c21')",
    "UPDATE app.orders SET customer = 21 WHERE id < 3",
    "DELETE FROM app.orders WHERE id = 50",
    "INSERT INTO app.orders VALUES (60, 21)",
    "INSERT INTO app.nothing DEFAULT VALUES",
    "UPDATE app.prices SET price = 0, note = NULL WHERE id IN (7, 1007)",
    "UPDATE app.prices SET note = E'two\\nlines, \\'quoted\\'\\\\' WHERE id = 30",
    "DELETE FROM app.prices WHERE id = 9",
    "INSERT INTO app.prices VALUES (100000, 1, 'new')",
    "ALTER DATABASE {} SET datestyle = 'German'",
    "ALTER DATABASE {} SET timezone = 'Asia/Tokyo'",
    "ALTER DATABASE {} SET bytea_output = 'escape'",
    "ALTER DATABASE {} SET intervalstyle = 'iso_8601'",
)


class Changed(Host):
    """A host whose database was stored, and has changed since."""

    def id(self, name: str, kind: str = "table") -> str:
        return f"'postgres/{kind}/{self.database}/app/{name}'"

    def diff(self, what: str, status: int = 1) -> str:
        outcome = self.sh(f"tb-diff {what}")
        assert (outcome.status, outcome.stderr) == (status, ""), outcome.stderr
        return outcome.stdout

    def difference(self, what: str, status: int = 1) -> dict[str, Any]:
        (line,) = self.diff(what, status).splitlines()
        return dict(json.loads(line)["difference"])

    def content(self, name: str, only: str = "") -> list[str]:
        """Return the rows as text, in an order of their own."""
        return sorted(str(row) for (row,) in self.rows(f"select t::text from {only} {name} as t"))

    def more(self, one: str, other: str, only: str = "") -> int:
        """Count the rows that one table has and the other has not, as the server does."""
        rows = (f"select t::text from {only} {name} as t" for name in (one, other))
        query = f"select count(*) from ({' except all '.join(rows)}) as more"
        ((count,),) = self.rows(query)
        return int(count)


@pytest.fixture(scope="module")
def changed(host_of_module: Host, server_folder: Path) -> Iterator[Changed]:
    host = host_of_module
    host.__class__ = Changed
    assert isinstance(host, Changed)
    folder = server_folder / "diff-space"
    folder.mkdir(mode=0o711)
    owner = host.server.pgdata.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    host.execute(f"create tablespace {zoo.TABLESPACE} location '{folder}'", "postgres")
    for statement in zoo.STATEMENTS:
        host.execute(statement)
    host.execute("create table app.prices (id int primary key, price numeric, note text)")
    host.execute(
        "insert into app.prices select n, n * 1.10, 'note ' || n from generate_series(1, 50000) n"
    )
    host.execute("create schema earlier")
    for name in (*_TABLES, "prices"):
        only = "" if name.startswith("events") else "only"
        host.execute(f"create table earlier.{name} as select * from {only} app.{name}")
    host.good("tb-run")
    host.wipe()
    for statement in _SINCE:
        host.execute(statement.format(host.database))
    yield host
    host.execute(f"drop database {host.database} with (force)", "postgres")
    host.execute(f"create database {host.database}", "postgres")
    host.execute(f"drop tablespace {zoo.TABLESPACE}", "postgres")


def test_of_each_table_it_counts_what_the_server_counts(changed: Changed) -> None:
    names = (*_TABLES, "prices")
    outcome = changed.sh(f"tb-diff {' '.join(map(changed.id, names))}")
    assert (outcome.status, outcome.stderr) == (1, "")
    found = {record["level3"]: record["difference"] for record in outcome.records}
    assert found.keys() == set(names)
    for name, difference in found.items():
        only = "" if name.startswith("events") else "only"
        now, then = f"app.{name}", f"earlier.{name}"
        changes = difference.get("changed", 0)
        assert difference["added"] + changes == changed.more(now, then, only), name
        assert difference["removed"] + changes == changed.more(then, now, only), name
        differs = any(difference.get(count) for count in ("added", "removed", "changed"))
        assert difference["equal"] is not differs
        assert difference["definition"] == "equal"
    assert found["rich"]["changed"] == 51
    assert found["prices"]["changed"] == 3
    assert "changed" not in found["secret"]  # it has no key
    assert found["events"]["key"] == ["at", "what"]


def test_rows_are_printed_with_a_sign_in_order_of_the_key(changed: Changed) -> None:
    head, other, *lines = changed.diff(f"--rows {changed.id('prices')}").splitlines()
    assert head.startswith(f"--- postgres/table/{changed.database}/app/prices 2")
    assert other == f"+++ postgres/table/{changed.database}/app/prices live"
    assert lines == [
        " id,price,note",
        "-7,7.70,note 7",
        "+7,0,",
        "-9,9.90,note 9",
        "-30,33.00,note 30",
        '+30,33.00,"two',
        "lines, 'quoted'\\\"",
        "-1007,1107.70,note 1007",
        "+1007,0,",
        "+100000,1,new",
    ]


def test_what_is_equal_says_nothing_and_succeeds(changed: Changed) -> None:
    assert changed.diff(f"--rows {changed.id('elsewhere')}", 0) == ""
    assert changed.difference(changed.id("elsewhere"), 0)["equal"]
    assert "BEGIN" in changed.diff(f"--sql {changed.id('elsewhere')}", 0)


def test_of_views_only_the_definition_is_compared(changed: Changed) -> None:
    for name in ("happy", "later"):
        assert "added" not in changed.difference(changed.id(name, "view"), 0)
    assert "added" not in changed.difference(changed.id("fleeting"), 0)
    assert changed.difference(changed.id("counted", "view"))["removed"] == 3


def test_two_snapshots_are_compared_without_a_live_server(changed: Changed) -> None:
    listed = changed.good("tb-list --stored --snapshots --json -s postgres").records
    base = listed[0]["snapshots"][0]["id"]
    changed.execute("alter table app.prices add column extra int default 5")
    changed.good("tb-discover | tb-snapshot --incremental | tb-upload")
    changed.execute("delete from app.prices where id < 1000")
    what = f"PGPORT=1 tb-diff --from {base} --to '2099-01-01' --definition --rows"
    outcome = changed.sh(f"{what} {changed.id('prices')}")
    assert outcome.status == 1
    assert "+    extra integer DEFAULT 5" in outcome.stdout
    assert "-7,7.70,note 7\n+7,0,\n" in outcome.stdout
    assert outcome.stdout.count(",note ") == 4  # without the DELETE since
    changed.execute("alter table app.prices drop column extra")
    changed.execute("insert into app.prices select * from earlier.prices where id < 1000")


def test_what_is_gone_is_said_with_the_way_back(changed: Changed) -> None:
    changed.execute("create table app.soon (id int)")
    changed.good("tb-discover | tb-snapshot --incremental | tb-upload")
    changed.execute("drop table app.soon")
    outcome = changed.sh(f"tb-diff {changed.id('soon')}")
    assert outcome.status == 1
    assert "it is not there any more; tb-restore brings it back" in outcome.stderr


def test_code_of_whoever_owns_the_table_does_not_run(changed: Changed) -> None:
    """The planner computes what an index is on, with the rights of whoever selects."""
    changed.execute(
        """create function app.evil(int) returns int language plpgsql immutable as $$ begin
           if current_setting('application_name') = 'three_backup' then
             raise exception 'a superuser ran this'; end if; return $1; end $$"""
    )
    changed.execute("create table app.trap (id int primary key, n int)")
    changed.execute("create index on app.trap ((n + app.evil(1)))")
    changed.execute("insert into app.trap select n, n from generate_series(1, 500) n")
    changed.good("tb-discover | tb-snapshot --incremental | tb-upload")
    changed.execute("update app.trap set n = 0 where id = 5")
    assert changed.difference(changed.id("trap"))["changed"] == 1
    assert changed.sh("tb-diff --rows " + changed.id("trap")).stdout.endswith("-5,5\n+5,0\n")


def test_a_server_that_is_away_and_two_databases_are_told(changed: Changed) -> None:
    outcome = changed.sh(f"PGPORT=1 tb-diff {changed.id('orders')}")
    assert outcome.status == 69
    assert "PostgreSQL does not answer" in outcome.stderr
    outcome = changed.sh(f"tb-diff --sql --rows {changed.id('orders')}")
    assert (outcome.status, outcome.stdout) == (2, "")


def test_the_sql_leads_back_and_spares_what_changed_meanwhile(changed: Changed) -> None:
    names = [name for name in (*_TABLES, "prices") if name != "nothing"]
    base = changed.good("tb-list --stored --snapshots --json -s postgres").records[0]["snapshots"]
    ids = " ".join(map(changed.id, names))
    text = changed.diff(f"--sql --from {base[0]['id']} {ids}")
    assert "its triggers fire: rich_stamp" in text
    changed.execute("update app.prices set price = 42 where id = 7")  # somebody else
    silent = "BEGIN;\nSET LOCAL session_replication_role = replica;"
    with changed.connect(changed.database) as connection:
        connection.execute(text.replace("BEGIN;", silent, 1).encode())
    changed.execute(
        "update app.prices set price = 7.70, note = 'note 7' where id = 7 and price = 42"
    )
    for name in names:
        only = "" if name.startswith("events") else "only"
        assert changed.content(f"app.{name}", only) == changed.content(f"earlier.{name}"), name
    assert changed.diff(f"--rows --from {base[0]['id']} {ids}", 0) == ""
