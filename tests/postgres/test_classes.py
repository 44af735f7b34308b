"""Places where each class of data may lie, end to end: with the tools, in S3 and on this host."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.lab.forked import Forked
from three_backup.catalog.files import Files
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.snapshots import Manifest
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.chain.reading import batches, read_ahead
from three_backup.sources.postgres.index import INDEX, Tier
from three_backup.sources.postgres.mapping import relation_of

from .living import Living, living
from .taking import DISABLED as CLOSED
from .taking import LOCAL, Taking, ask, index_of, run, table

HASH = "select count(*), md5(string_agg(t::text, '|' order by id)) from {} t"
NEARBY = "- {}: {{max_stage: snapshot_incremental}}\n"
DISABLED = "- {}: {{disable: true}}\n"
TABLES = ("users", "nearby", "hidden")
INSIDE = "postgres/table/locked/public/u*"
FORCED = "tb-discover | tb-snapshot --incremental | tb-upload"
STATISTICS = """
select pg_relation_filepath(c.oid)
  from pg_class s join pg_class c on c.oid in (s.oid, s.reltoastrelid)
 where s.relname ~ '^pg_statistic' and s.relkind = 'r'
"""


@pytest.fixture
def host(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    server_folder: Path,
    seaweed: SeaweedServer,
    bucket: str,
    tools: Forked,
) -> Iterator[Living]:
    """A host with each version in turn, and with TABLES, which a test may change."""
    with living(server_folder, postgres, seaweed, tools, bucket) as host:
        for name in TABLES:
            host.execute(
                f"create table {name} as select i as id, '{name} ' || md5(i::text) as word"
                " from generate_series(1, 3000) i"
            )
        yield host
        host.execute("drop table if exists users, nearby, hidden")


def content(host: Living, table: str) -> tuple[object, ...]:
    return host.rows(HASH.format(table))[0]


def local_packs(host: Living) -> list[Path]:
    """Return the local.pack of each snapshot, oldest first."""
    return sorted(host.local_dir.rglob("local.pack"), key=lambda path: path.parent.name)


def change(host: Living, number: int) -> None:
    for name in TABLES:
        host.execute(
            f"update {name} set word = 'changed {name} {number}' where id % 50 = {number}"
        )


def taken(host: Living, command: str = FORCED) -> dict[str, Any]:
    """Take a snapshot by the command; return the record of `users`."""
    records = host.good(command).records
    return next(record for record in records if record["id"] == host.table("users"))


def strict(host: Living) -> str:
    """Return sections that keep `nearby` on this host and leave `hidden` out."""
    return NEARBY.format(host.table("nearby")) + DISABLED.format(host.table("hidden"))


def test_a_class_that_falls_and_rises_again_leaves_every_snapshot_restorable(
    host: Living,
) -> None:
    then = {}
    for number, sections in enumerate(("", strict(host)) * 2):
        change(host, number)
        host.configure(sections)
        record = taken(host)
        assert record["snapshot"]["kind"] == ("base" if number in (0, 2) else "incremental")
        then[record["snapshot"]["id"]] = {name: content(host, name) for name in TABLES}
    first, fallen, risen, _ = then
    assert restored(host, fallen, "users", "nearby") == without(then[fallen], "hidden")
    host.wipe()
    assert restored(host, first, *TABLES) == then[first]
    assert restored(host, fallen, "users") == without(then[fallen], "nearby", "hidden")
    assert restored(host, risen, *TABLES) == then[risen]
    command = f"tb-restore --snapshot {fallen} --level3 back"
    stayed = refusal(host, f"{command} {host.table('nearby')}")
    assert "its rows never left the host that took the snapshot, and are not here" in stayed
    assert "; restore on host " in stayed
    left_out = refusal(host, f"{command} {host.table('hidden')}")
    assert "no snapshot that may be restored holds it" in left_out


def test_a_class_that_rises_makes_a_base_and_says_so(host: Living) -> None:
    host.configure(strict(host), s3_bucket=None)
    users = host.table("users")
    assert [host.turn(users).kind for _ in range(2)] == ["base", "incremental"]
    reason = "is to be kept farther away than in the newest snapshot"
    host.configure(DISABLED.format(host.table("hidden")), s3_bucket=None)
    turn = host.turn(users)
    assert (turn.kind, turn.planned["why"]) == ("base", f"{host.table('nearby')} {reason}")
    host.configure(NEARBY.format(host.table("hidden")), s3_bucket=None)
    turn = host.turn(users)
    assert (turn.kind, turn.planned["why"]) == ("base", f"{host.table('hidden')} {reason}")


def without(contents: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: content for name, content in contents.items() if name not in names}


def refusal(host: Living, command: str) -> str:
    """Run a command that must fail; return its only sentence before the summary."""
    outcome = host.sh(command)
    assert outcome.status == 1
    said = [line for line in outcome.stderr.splitlines() if line.startswith("tb-restore: ")]
    assert len(said) == 1
    return said[0]


def restored(host: Living, snapshot: str, *names: str) -> dict[str, object]:
    """Restore the tables from a snapshot beside the present ones; return the contents by name."""
    ids = " ".join(map(host.table, names))
    host.good(f"tb-restore --snapshot {snapshot} --level3-suffix _back {ids}")
    found: dict[str, object] = {name: content(host, f"{name}_back") for name in names}
    host.execute("drop table " + ", ".join(f"{name}_back" for name in names))
    return found


def test_nothing_of_a_stricter_class_is_in_a_byte_that_goes_to_s3(host: Living) -> None:
    host.configure(strict(host), s3_bucket=None)
    for number in range(3):
        taken(host, "tb-discover | tb-snapshot")
        change(host, number)
        host.execute("checkpoint")
    statistics = {path for (path,) in host.rows(STATISTICS)}
    seen = b""
    for stored in host.snapshots():
        (folder,) = host.local_dir.glob(f"postgres/cluster/*/{stored}")
        manifest = Manifest.from_json((folder / "manifest.json").read_bytes(), stored)
        uploaded = {file.name for file in manifest.files if not file.local_only}
        assert uploaded == {
            "core.pack",
            "s3.pack",
            "index.zst",
            "backup_manifest.zst",
            "configuration.zst",
        }
        for name in uploaded - {"core.pack"}:
            seen += decompressed(folder / name)
        seen += core(Files(manifest, folder, None, None), statistics)
    assert b"changed users 1" in seen
    assert re.findall(rb"(?:nearby|hidden) [0-9a-f]", seen) == []


def decompressed(path: Path) -> bytes:
    """Return every byte of a pack, whether the index names it or not."""
    with (
        path.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as frames,
    ):
        return frames.read()


def core(files: Files, statistics: Collection[str]) -> bytes:
    """Return the core without WAL and statistics, which may hold traces of every table."""
    index = index_file.load(files.read(INDEX), "test")
    wanted = [
        file
        for file in index.files.values()
        if file.place is Tier.CORE and relation_of(file.path) not in statistics
        if not file.path.startswith("pg_wal/")
    ]
    read = read_ahead(batches(files, index.groups, wanted))
    return b"".join(bytes(piece) for pieces in read for _, _, piece in pieces)


def test_a_file_that_nobody_knows_is_held_as_strictly_as_anything(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, "CREATE TABLE secret (id int)")
    oid = ask(live, "postgres", f"SELECT oid FROM pg_database WHERE datname = '{database}'")
    orphan = live.pgdata / "base" / oid / "99999999"
    orphan.write_bytes(bytes(range(256)) * 64)
    unprivileged_account().own(orphan)
    for settings, place in ((None, Tier.S3), (LOCAL, Tier.LOCAL), (CLOSED, Tier.NONE)):
        if settings is not None:
            taking.settings[table(database, "secret")] = settings
        assert index_of(taking.take()).files[f"base/{oid}/99999999"].place is place


def test_rotation_keeps_the_last_copy_of_what_never_leaves_the_host(host: Living) -> None:
    nearby = host.table("nearby")
    host.configure(
        NEARBY.format(nearby),
        max_base_snapshots_local=0,
        max_incremental_snapshots_local=0,
        max_base_snapshots_s3=1,
        max_incremental_snapshots_s3=0,
    )
    for number in range(3):
        taken(host, f"{FORCED} | tb-rotate")
        change(host, number)
    last = taken(host, f"{FORCED} | tb-rotate")["snapshot"]["id"]
    then = {name: content(host, name) for name in ("users", "nearby")}
    assert len(local_packs(host)) == 4, "every link of the chain has rows of it"
    assert restored(host, last, "users", "nearby") == then
    taken(host, "tb-discover | tb-snapshot --base | tb-upload")
    assert len(local_packs(host)) == 5
    local_packs(host)[-1].unlink()
    host.good("tb-discover | tb-rotate")
    assert len(local_packs(host)) == 4, "the newest chain has lost them, so the older one stays"
    assert restored(host, last, "nearby") == {"nearby": then["nearby"]}
    taken(host, "tb-discover | tb-snapshot --base | tb-upload | tb-rotate")
    assert len(local_packs(host)) == 1


def test_a_chain_whose_older_rows_are_gone_from_this_host_begins_anew(host: Living) -> None:
    nearby = host.table("nearby")
    host.configure(NEARBY.format(nearby), s3_bucket=None)
    assert [host.turn(nearby).kind for _ in range(3)] == ["base", "incremental", "incremental"]
    local_packs(host)[0].unlink()
    turn = host.turn(nearby)
    assert (turn.kind, turn.status) == ("base", 0)
    assert re.fullmatch(r"local\.pack of \w+-base is gone from this host", turn.planned["why"])
    local_packs(host)[-1].write_bytes(b"cut short")
    forced = host.good("tb-discover | tb-snapshot --incremental").records[0]
    assert forced["snapshot"]["kind"] == "base"
    assert forced["why"].startswith("local.pack of ")


@pytest.fixture
def locked(host: Living) -> Iterator[Living]:
    """A host whose role may not connect to the database `locked`, which has a table."""
    host.execute("create role guest login replication")
    host.execute("create database locked")
    host.execute("create table users as select 'inside' as word, 1 as id", "locked")
    host.execute("revoke connect on database locked from public")
    host.environ["PGUSER"] = "guest"
    yield host
    host.execute("drop database locked")
    host.execute("drop role guest")


@pytest.mark.parametrize(
    ("section", "fate", "place", "then"),
    [
        ("", "are stored, but cannot be restored one by one", Tier.S3, "incremental"),
        (NEARBY, "stay on this host, because some of them have to", Tier.LOCAL, "base"),
        (DISABLED, "are left out, because some of them are disabled", Tier.NONE, "base"),
    ],
)
def test_a_database_that_refuses_us_is_said_and_held_as_strictly_as_any_table_it_may_have(
    locked: Living, section: str, fate: str, place: Tier, then: str
) -> None:
    locked.configure(section.format(INSIDE), s3_bucket=None)
    users = locked.table("users")
    first = locked.turn(users)
    assert (first.kind, first.status) == ("base", 1)
    assert "nothing is rotated while a part of the carrier cannot be read" in first.planned["why"]
    remedy = 'run as a superuser: GRANT CONNECT ON DATABASE "locked" TO "guest"'
    denied = 'PostgreSQL: permission denied for database "locked"; '
    assert f"tb-discover: {first.taken['carrier']}: {denied}{remedy}" in first.stderr
    said = next(line for line in first.stderr.splitlines() if fate in line)
    assert said.startswith(f"tb-snapshot: {first.taken['carrier']}: {denied}its tables {fate}")
    assert said.endswith(remedy)
    assert places(locked, first.snapshot, "locked", "users") == {place}
    locked.execute("grant connect on database locked to guest")
    locked.configure(s3_bucket=None)
    second = locked.turn(users)
    assert (second.kind, second.status) == (then, 0), second.stderr
    restored = "tb-restore --level1 postgres --level3 inside postgres/table/locked/public/users"
    locked.good(f"PGUSER=postgres {restored}")
    try:
        assert locked.rows("select * from inside") == [("inside", 1)]
    finally:
        locked.execute("drop table inside")


def test_a_database_that_refuses_us_loses_nothing_to_what_is_disabled_elsewhere(
    locked: Living,
) -> None:
    locked.execute("vacuum full pg_class", "locked")
    locked.configure(DISABLED.format(locked.table("hidden")), s3_bucket=None)
    turn = locked.turn(locked.table("users"))
    assert "its tables are stored" in turn.stderr
    assert places(locked, turn.snapshot, "locked", "users") == {Tier.S3}
    assert places(locked, turn.snapshot, "locked", "pg_class") == {Tier.S3}
    assert places(locked, turn.snapshot, locked.database, "hidden") == {Tier.NONE}


def test_a_database_that_takes_no_connections_is_said_and_no_failure(host: Living) -> None:
    host.execute("create database closed")
    host.execute("create table users as select 1 as id", "closed")
    host.execute("alter database closed allow_connections false")
    host.configure(DISABLED.format(host.table("nearby")), s3_bucket=None)
    try:
        turn = host.turn(host.table("users"))
        assert (turn.kind, turn.status) == ("base", 0)
        assert turn.stderr.count("\n") == 1
        assert 'database "closed" takes no connections; its tables are stored' in turn.stderr
        assert 'ALTER DATABASE "closed" ALLOW_CONNECTIONS true' in turn.stderr
    finally:
        host.execute("drop database closed")


def places(host: Living, snapshot: str, database: str, table: str) -> set[Tier]:
    """Return the places of a table's files, found by path: the index may not know the name."""
    (path,) = host.rows(f"select pg_relation_filepath('{table}')", database)[0]
    (stored,) = host.local_dir.glob(f"postgres/cluster/*/{snapshot}/{INDEX}")
    index = index_file.load(stored.read_bytes(), snapshot)
    return {file.place for file in index.files.values() if file.path == path}
