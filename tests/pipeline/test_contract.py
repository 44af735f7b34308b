"""The promises of every source, tested on each through the tools. Add new sources here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from tests.lab.lab import Lab
from tests.lab.sample import DAEMONS
from tests.lxd import inside
from tests.pipeline.conftest import Host
from three_backup.demo.clickhouse import ClickhouseServer

FORCED = "tb-discover {select} | tb-snapshot --incremental | tb-upload | tb-rotate"


class Server(Protocol):
    """A source's server with a table `things`: the numbers 1 to 20,000, each with a word."""

    @property
    def id(self) -> str: ...

    @property
    def host(self) -> Host: ...

    def change(self, number: int) -> None:
        """Add a row that is unique to the number."""

    def content(self, name: str = "things", group: str = "") -> list[tuple[object, ...]]:
        """Return all rows of the table; group is appended to its level2."""

    def drop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Postgres:
    host: Host

    @property
    def id(self) -> str:
        return self.host.table("things")

    def fill(self) -> None:
        self.host.execute(
            "create table things as select i as id, md5(i::text) as word"
            " from generate_series(1, 20000) i"
        )

    def change(self, number: int) -> None:
        self.host.execute(f"insert into things values ({100_000 + number}, 'change {number}')")

    def content(self, name: str = "things", group: str = "") -> list[tuple[object, ...]]:
        return self.host.rows(f"select id, word from public{group}.{name} order by 1")

    def drop(self) -> None:
        self.host.execute("drop table things")


@dataclass(frozen=True, slots=True)
class Clickhouse:
    host: Host
    server: ClickhouseServer

    @property
    def id(self) -> str:
        return "clickhouse/table/default/contract/things"

    def fill(self) -> None:
        self.server.execute("CREATE DATABASE contract")
        self.server.execute(
            "CREATE TABLE contract.things ENGINE MergeTree ORDER BY id AS "
            "SELECT number + 1 AS id, hex(MD5(toString(id))) AS word FROM numbers(20000)"
        )

    def change(self, number: int) -> None:
        self.server.execute(
            f"INSERT INTO contract.things VALUES ({100_000 + number}, 'change {number}')"
        )

    def content(self, name: str = "things", group: str = "") -> list[tuple[object, ...]]:
        return self.server.rows(f"SELECT id, word FROM contract{group}.{name} ORDER BY id")

    def drop(self) -> None:
        self.server.execute("DROP TABLE contract.things SYNC")


@dataclass(frozen=True, slots=True)
class Lxd:
    """A container of LXD or Incus in which the table is a file."""

    host: Host
    lab: Lab

    @property
    def id(self) -> str:
        return self.lab.words.own("lxd/container/default/shop/things")

    def fill(self) -> None:
        self.lab.sh("lxc init tiny things --project shop")
        self._change("seq 20000 | sed 's/.*/& line-&-of-things/' > things")

    def change(self, number: int) -> None:
        self._change(f"echo {100_000 + number} change-{number} >> things")

    def content(self, name: str = "things", group: str = "") -> list[tuple[object, ...]]:
        dataset = f"tank/lxd/containers/shop{group}_{name}"
        lines = self.lab.sh(
            f"mount -t zfs -o ro {dataset} /mnt && cat /mnt/rootfs/things && umount /mnt"
        )
        return [tuple(line.split()) for line in lines.splitlines()]

    def drop(self) -> None:
        self.lab.sh("lxc delete things --project shop")

    def _change(self, script: str) -> None:
        inside.change(self.lab, "tank/lxd/containers/shop_things", f"cd rootfs\n{script}")


@pytest.fixture(params=["postgres", "clickhouse", "lxd", "incus"])
def server(request: pytest.FixtureRequest, host: Host) -> Iterator[Server]:
    """The filled server of each source in turn, which the host's tools can reach."""
    if request.param == "postgres":
        postgres = Postgres(host)
        postgres.fill()
        yield postgres
        return
    if request.param in DAEMONS:
        lab = request.getfixturevalue("labs")(request.param)
        host.environ["PATH"] = f"{lab.bindir}:{host.environ['PATH']}"
        lab.sh("lxc project create shopcopy -c features.images=false -c features.profiles=false")
        lxd = Lxd(host, lab)
        lxd.fill()
        yield lxd
        lab.rewind()
        return
    engine = request.getfixturevalue("clickhouse")
    path = f"{engine.bindir}:{host.environ['PATH']}"
    host.environ.update({**engine.environ, "PATH": path})
    clickhouse = Clickhouse(host, engine)
    clickhouse.fill()
    yield clickhouse
    for database in ("contract", "contractcopy"):
        engine.execute(f"DROP DATABASE IF EXISTS {database} SYNC")


def forced(server: Server) -> str:
    return FORCED.format(select=f"-s '{server.id}'")


def test_each_link_of_a_chain_of_three_comes_back_from_s3_alone_as_it_was(server: Server) -> None:
    host, then, taken = server.host, [], []
    for number in range(3):
        server.change(number)
        then.append(server.content())
        taken.append(host.good(forced(server)).records[0]["snapshot"])
    assert [link["kind"] for link in taken] == ["base", "incremental", "incremental"]
    assert [link["parent"] is None for link in taken] == [True, False, False]
    assert all(link["stored_size"] < taken[0]["stored_size"] / 2 for link in taken[1:])
    host.wipe()
    server.drop()
    (stored,) = host.good(f"tb-discover --stored -s '{server.id}'").records
    assert [link["id"] for link in stored["snapshots"]] == [link["id"] for link in taken]
    for number, snapshot in enumerate(taken):
        restore = f"tb-restore --snapshot {snapshot['id']} --level3-suffix {number}"
        host.good(f"{restore} '{server.id}'")
        assert server.content(f"things{number}") == then[number]


def test_what_is_there_is_replaced_only_when_asked_and_never_added_to(server: Server) -> None:
    host = server.host
    host.good(forced(server))
    then = server.content()
    server.change(1)
    now = server.content()
    refused = host.sh(f"tb-restore '{server.id}'")
    assert refused.status == 1
    assert "--overwrite" in refused.stderr
    assert server.content() == now
    host.good(f"tb-restore --level2-suffix copy '{server.id}'")
    assert server.content(group="copy") == then
    assert server.content() == now
    host.good(f"tb-restore --overwrite '{server.id}'")
    assert server.content() == then


def test_a_run_takes_what_is_due_once_and_rotates_to_what_restores(server: Server) -> None:
    host = server.host
    host.configure(max_base_snapshots_s3=1, max_incremental_snapshots_s3=0)
    select = f"-s '{server.id}'"
    first = host.good(f"tb-run --json {select}").records
    assert [record["snapshot"]["kind"] for record in first] == ["base"]
    again = host.good(f"tb-run --json {select}").records
    assert [(record["todo"], "snapshot" in record) for record in again] == [([], False)]
    server.change(1)
    then = server.content()
    host.good(f"tb-discover {select} | tb-snapshot --base | tb-upload | tb-rotate")
    (stored,) = host.good(f"tb-discover --stored {select}").records
    assert [snapshot["kind"] for snapshot in stored["snapshots"]] == ["base"]
    host.wipe()
    server.drop()
    host.good(f"tb-restore '{server.id}'")
    assert server.content() == then


def test_a_disabled_object_is_in_no_snapshot(server: Server) -> None:
    server.host.configure(f"- {server.id}: {{disable: true}}\n")
    (planned,) = server.host.good(f"tb-discover -s '{server.id}' | tb-plan").records
    assert (planned["todo"], planned["why"]) == ([], "disabled")
    server.host.good("tb-discover | tb-snapshot --base | tb-upload")
    (nothing,) = server.host.sh(f"tb-discover --stored -s '{server.id}'").records
    assert nothing["error"]["code"] == "select.nothing"
