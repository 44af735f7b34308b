"""Files are told apart by where they lie; their places follow the strictest of all their names."""

from collections.abc import Callable

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.objects import ObjectId
from three_backup.sources.postgres.classes import Classes, place_of, rose, strictest
from three_backup.sources.postgres.index import Place
from three_backup.sources.postgres.mapping import (
    FileMap,
    MappedObject,
    Owner,
    is_of_initdb,
    read_map,
    relation_of,
)
from three_backup.sources.postgres.taking.settle import objects_of
from three_backup.stages import TARGETS, Stage

from .taking import DISABLED, EVERYWHERE, LOCAL, NOWHERE, ask, run, table

_A, _B = Owner(5, 20000), Owner(5, 20001)


@pytest.mark.parametrize(
    ("path", "relation"),
    [
        ("base/5/16391", "base/5/16391"),
        ("base/5/16391.1", "base/5/16391"),
        ("base/5/16391_fsm", "base/5/16391"),
        ("base/5/16391_vm.12", "base/5/16391"),
        ("base/5/16391_init", "base/5/16391"),
        ("base/5/INCREMENTAL.16391", "base/5/16391"),
        ("base/5/INCREMENTAL.16391_vm.1", "base/5/16391"),
        ("pg_tblspc/16390/PG_17_202406281/5/16391.3", "pg_tblspc/16390/PG_17_202406281/5/16391"),
        ("base/5/PG_VERSION", None),
        ("base/5/pg_filenode.map", None),
        ("base/5/t3_16391", None),
        ("base/5/١٦", None),
        ("global/1262", None),
        ("pg_wal/000000010000000000000001", None),
        ("backup_label", None),
    ],
)
def test_every_fork_and_segment_is_of_its_relation(path: str, relation: str | None) -> None:
    assert relation_of(path) == relation


def test_numbers_below_those_of_users_are_catalogs() -> None:
    assert is_of_initdb("base/5/16383")
    assert not is_of_initdb("base/5/16384")


@pytest.mark.parametrize("stage", TARGETS)
def test_what_stops_before_s3_has_no_place_there(stage: Stage) -> None:
    expected = {
        Stage.EXISTS: Place.NONE,
        Stage.SNAPSHOT_BASE: Place.LOCAL,
        Stage.SNAPSHOT_INCREMENTAL: Place.LOCAL,
    }
    assert place_of(Settings(NOWHERE, max_stage=stage)) is expected.get(stage, Place.S3)
    assert place_of(Settings(NOWHERE, max_stage=stage, disable=True)) is Place.NONE


@pytest.mark.parametrize("before", Place)
@pytest.mark.parametrize("now", Place)
def test_a_class_rises_when_bytes_have_to_go_farther_than_they_lie(
    before: Place, now: Place
) -> None:
    distance = {Place.NONE: 0, Place.LOCAL: 1, Place.S3: 2, Place.CORE: 2}
    assert rose(before, now) is (distance[now] > distance[before])


def test_a_file_takes_the_strictest_place_of_all_names_before_and_after() -> None:
    swapped = (_map({_A: "users", _B: "secret"}), _map({_A: "secret", _B: "users"}))
    classes = Classes(swapped, _settings(secret=DISABLED))
    assert classes.of_owner(_A) is Place.NONE
    assert classes.of_owner(_B) is Place.NONE


def test_a_relation_that_nobody_knows_has_the_strictest_place_in_use() -> None:
    classes = Classes([_map({_A: "users", _B: "secret"})], _settings(secret=LOCAL))
    assert classes.of_relation("base/5/99999") is None
    assert classes.unknown is Place.LOCAL
    assert classes.of_relation("base/5/2619") is Place.CORE
    assert Classes([], _settings()).unknown is Place.S3
    assert strictest([]) is Place.S3


def test_an_object_has_the_files_of_every_table_that_had_its_name() -> None:
    before, after = _map({_A: "users", _B: "old"}), _map({_A: "retired", _B: "users"})
    objects = objects_of(before, after, Classes([before, after], _settings()))
    users = objects[table("db", "users")]
    assert set(users.relations) == {"base/5/20000", "base/5/20001"}
    assert users.stays
    assert not objects[table("db", "old")].stays
    assert not objects[table("db", "retired")].stays


def test_all_files_of_a_table_are_known_as_its_own(live: PostgresServer, database: str) -> None:
    run(
        live,
        database,
        "CREATE TABLE users (id serial PRIMARY KEY, note text UNIQUE)",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM users",
        "CREATE UNLOGGED TABLE passing (id int)",
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9)",
        "CREATE VIEW newest AS SELECT * FROM users",
        "CREATE TEMP TABLE gone (id int)",
    )
    found = read_map()
    assert found.unread == {}
    oid = int(ask(live, "postgres", f"SELECT oid FROM pg_database WHERE datname = '{database}'"))
    owned: dict[str, int] = {}
    for owner in found.owners.values():
        if owner is not None and owner.database == oid:
            name = found.objects[owner].id.level3
            owned[name] = owned.get(name, 0) + 1
    # heap, TOAST table and its index; users has two indexes more
    assert owned == {"users": 5, "counted": 1, "passing": 1, "part": 1}
    kinds = {
        known.id.level3: known.kind for o, known in found.objects.items() if o.database == oid
    }
    assert kinds == {
        "users": "table",
        "counted": "materialized view",
        "passing": "unlogged table",
        "parts": "partitioned table",
        "part": "table",
        "newest": "view",
    }
    sequence = ask(live, database, "SELECT pg_relation_filepath('users_id_seq')")
    assert found.owners[sequence] is None


def test_a_database_that_refuses_us_is_named_and_the_others_are_read(
    live: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(live, database, "CREATE TABLE users (id int)", "CREATE ROLE guest LOGIN")
    run(live, "postgres", f"REVOKE CONNECT ON DATABASE {database} FROM public")
    monkeypatch.setenv("PGUSER", "guest")
    try:
        found = read_map()
    finally:
        run(live, "postgres", "DROP ROLE guest")
    assert list(found.unread) == [database]
    assert f'GRANT CONNECT ON DATABASE "{database}" TO "guest"' in found.unread[database].hint
    assert found.owners
    assert not [known for known in found.objects.values() if known.id.level1 == database]


def _map(names: dict[Owner, str]) -> FileMap:
    owners: dict[str, Owner | None] = {f"base/5/{owner.table}": owner for owner in names}
    objects = {owner: MappedObject(table("db", name), "table") for owner, name in names.items()}
    return FileMap(owners, objects)


def _settings(**special: Settings) -> Callable[[ObjectId], Settings]:
    return lambda id: special.get(id.level3, EVERYWHERE)
