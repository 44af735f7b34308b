"""What may lie where, from end to end: through the tools, out of S3 alone and on this host."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from three_backup.demo.servers import PostgresServer, SeaweedServer

from .living import Living, living

HASH = "select count(*), md5(string_agg(t::text, '|' order by id)) from {} t"
NEARBY = "- {}: {{max_stage: snapshot_incremental}}\n"
DISABLED = "- {}: {{disable: true}}\n"
FORCED = "tb-discover | tb-snapshot --incremental | tb-upload"


@pytest.fixture
def host(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    server_folder: Path,
    seaweed: SeaweedServer,
    bucket: str,
) -> Iterator[Living]:
    """Beside both versions, one after the other, with tables of its own that are left to it."""
    with living(server_folder, postgres, seaweed, bucket) as host:
        for name in ("users", "secret"):
            host.execute(
                f"create table {name} as select i as id, '{name} ' || md5(i::text) as word"
                " from generate_series(1, 3000) i"
            )
        yield host
        host.execute("drop table if exists users, secret")


def content(host: Living, table: str) -> tuple[object, ...]:
    return host.rows(HASH.format(table))[0]


def local_packs(host: Living) -> list[Path]:
    """Oldest first."""
    return sorted(host.local_dir.rglob("local.pack"), key=lambda path: path.parent.name)


def chain_of_three(host: Living) -> list[str]:
    """A base and two increments, both of which change both tables; gives their ids."""
    taken = [host.good(FORCED)]
    for number in (1, 2):
        host.execute(f"update users set word = 'changed {number}' where id % 50 = {number}")
        host.execute(f"update secret set word = 'changed {number}' where id % 50 = {number}")
        taken.append(host.good(FORCED))
    return [str(outcome.records[0]["snapshot"]["id"]) for outcome in taken]


def test_a_chain_whose_older_rows_are_gone_from_this_host_begins_anew(host: Living) -> None:
    secret = host.table("secret")
    host.configure(NEARBY.format(secret), s3_bucket=None)
    assert [host.turn(secret).kind for _ in range(3)] == ["base", "incremental", "incremental"]
    local_packs(host)[0].unlink()
    turn = host.turn(secret)
    assert (turn.kind, turn.status) == ("base", 0)
    assert re.fullmatch(r"local\.pack of \w+-base is gone from this host", turn.planned["why"])
    local_packs(host)[-1].write_bytes(b"cut short")
    forced = host.good("tb-discover | tb-snapshot --incremental").records[0]
    assert forced["snapshot"]["kind"] == "base"
    assert forced["why"].startswith("local.pack of ")
