"""Files are identified by path; a file's place is the strictest of all names of its table."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from three_backup.config.settings import Settings
from three_backup.demo.servers import PostgresServer
from three_backup.model.objects import ObjectId
from three_backup.model.stages import TARGETS, Stage
from three_backup.sources.postgres import mapping
from three_backup.sources.postgres.classes import Classes, place_of, rose, strictest
from three_backup.sources.postgres.index import Tier
from three_backup.sources.postgres.mapping import (
    FileMap,
    MappedObject,
    Owner,
    database_of,
    is_of_initdb,
    read_map,
    relation_of,
)
from three_backup.sources.postgres.taking.settle import objects_of, uncertain_objects

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
        Stage.EXISTS: Tier.NONE,
        Stage.SNAPSHOT_BASE: Tier.LOCAL,
        Stage.SNAPSHOT_INCREMENTAL: Tier.LOCAL,
    }
    assert place_of(Settings(NOWHERE, max_stage=stage)) is expected.get(stage, Tier.S3)
    assert place_of(Settings(NOWHERE, max_stage=stage, disable=True)) is Tier.NONE


@pytest.mark.parametrize("before", Tier)
@pytest.mark.parametrize("now", Tier)
def test_a_class_rises_when_bytes_have_to_go_farther_than_they_lie(
    before: Tier, now: Tier
) -> None:
    distance = {Tier.NONE: 0, Tier.LOCAL: 1, Tier.S3: 2, Tier.CORE: 2}
    assert rose(before, now) is (distance[now] > distance[before])


def test_a_file_takes_the_strictest_place_of_all_names_before_and_after() -> None:
    swapped = (_map({_A: "users", _B: "secret"}), _map({_A: "secret", _B: "users"}))
    classes = Classes(swapped, _settings(secret=DISABLED))
    assert classes.of_owner(_A) is Tier.NONE
    assert classes.of_owner(_B) is Tier.NONE


def test_a_relation_that_nobody_knows_has_the_strictest_place_in_use() -> None:
    classes = Classes([_map({_A: "users", _B: "secret"})], _settings(secret=LOCAL))
    assert classes.of_relation("base/5/99999") is None
    assert classes.of_unknown(5) is Tier.LOCAL
    assert classes.of_relation("base/5/2619") is Tier.CORE
    assert Classes([], _settings()).of_unknown(5) is Tier.S3
    assert strictest([]) is Tier.S3


def test_a_relation_that_nobody_knows_is_of_its_own_database() -> None:
    found = _map({_A: "users", _B: "secret"})
    found.owners["base/6/1259"] = None
    classes = Classes([found], _settings(secret=DISABLED), {7: [Tier.LOCAL], 8: []})
    assert database_of("pg_tblspc/16390/PG_17_202406281/5/16391") == 5
    assert classes.of_unknown(5) is Tier.NONE
    assert classes.of_unknown(6) is Tier.S3
    assert classes.of_unknown(7) is Tier.LOCAL
    assert classes.of_unknown(8) is Tier.S3
    assert classes.of_unknown(9) is Tier.NONE, "of a database that came meanwhile anything"


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
    (unread,) = found.unread.values()
    assert unread.name == database
    assert f'GRANT CONNECT ON DATABASE "{database}" TO "guest"' in unread.error.hint
    assert found.owners
    assert not [known for known in found.objects.values() if known.id.level1 == database]


def test_a_database_whose_connections_are_all_in_use_is_waited_for(
    crowded: str, live: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(live.conninfo(crowded)):
        monkeypatch.setattr(mapping, "_PAUSES", (0.01,))
        (unread,) = read_map().unread.values()
        assert unread.error.code == "postgres.no_connection_slot"
    busy = psycopg.connect(live.conninfo(crowded))
    monkeypatch.setattr(mapping, "_PAUSES", Until(busy.close))
    assert read_map().unread == {}


def test_a_database_that_is_closed_to_all_but_superusers_holds_nothing_up(
    crowded: str, live: PostgresServer
) -> None:
    run(live, "postgres", f"ALTER DATABASE {crowded} CONNECTION LIMIT 0")
    (unread,) = read_map().unread.values()
    assert f'ALTER DATABASE "{crowded}" CONNECTION LIMIT -1' in unread.error.hint


@pytest.fixture
def crowded(live: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database to which the role that asks has one connection."""
    run(live, "postgres", "CREATE ROLE guest LOGIN")
    run(live, "postgres", f"ALTER DATABASE {database} CONNECTION LIMIT 1")
    monkeypatch.setenv("PGUSER", "guest")
    yield database
    run(live, "postgres", "DROP ROLE guest")


class Until:
    """Pauses; after each, `ends` is called to end what is waited for."""

    def __init__(self, ends: Callable[[], None]) -> None:
        self._ends = ends

    def __iter__(self) -> Iterator[float]:
        for _ in range(100):
            yield 0.05
            self._ends()


def test_what_may_be_a_file_of_a_table_is_not_left_out_unnoticed() -> None:
    before = _map({_A: "users", _B: "secret"})
    after = FileMap({"base/5/30000": _A, "base/5/20001": _B}, before.objects)
    classes = Classes([before, after], _settings(secret=DISABLED))
    objects = objects_of(before, after, classes)
    unknown, known = "base/5/25000", "base/5/20000"
    assert uncertain_objects(objects, [known, unknown], classes) == {table("db", "users"): unknown}
    assert uncertain_objects(objects, [known], classes) == {}
    assert uncertain_objects(objects, [known, "base/6/25000"], classes) == {}
    settled = objects_of(before, before, classes)
    assert uncertain_objects(settled, [known, unknown], classes) == {}


def _map(names: dict[Owner, str]) -> FileMap:
    owners: dict[str, Owner | None] = {f"base/5/{owner.table}": owner for owner in names}
    objects = {owner: MappedObject(table("db", name), "table") for owner, name in names.items()}
    return FileMap(owners, objects)


def _settings(**special: Settings) -> Callable[[ObjectId], Settings]:
    return lambda object_id: special.get(object_id.level3, EVERYWHERE)
