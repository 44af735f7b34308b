"""Discovery: each object is listed with its kind, and the server's own tables are left out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.storage import Storage
from three_backup.sources.base import Found
from three_backup.sources.clickhouse.cluster_name import cluster_name
from three_backup.sources.clickhouse.discover import discover as discovered
from three_backup.sources.clickhouse.relations import OF_SERVER

UUID = "00000000-0000-0000-0000-000000000000"


def discover(patterns: Sequence[str], **options: str) -> Iterator[Found]:
    """Discover on a host that has nothing of its own."""
    with TemporaryDirectory() as folder:
        yield from discovered(patterns, Settings(Storage(Path(folder)), **options))  # type: ignore[arg-type]


def found(database: str, *patterns: str) -> dict[str, Found]:
    """Discover, and return the objects of the database by their names."""
    listed = list(discover(patterns))
    assert all(each.carrier == str(each.id) for each in listed)
    return {item.id.level3: item for item in listed if item.id.level2 == database}


def test_every_kind_is_listed_as_what_it_is(live: ClickhouseServer, database: str) -> None:
    for statement in (
        "CREATE TABLE {}.hits ENGINE MergeTree ORDER BY id AS SELECT 1 AS id",
        "CREATE TABLE {}.small (id UInt8) ENGINE Log",
        "CREATE TABLE {}.gathered AS {}.hits ENGINE Merge('{}', '^hits$')",
        "CREATE TABLE {}.joined (id UInt8) ENGINE Join(ANY, LEFT, id)",
        "CREATE VIEW {}.seen AS SELECT id FROM {}.hits",
        "CREATE MATERIALIZED VIEW {}.kept ENGINE MergeTree ORDER BY id AS SELECT id FROM {}.hits",
        "CREATE MATERIALIZED VIEW {}.passed TO {}.small AS SELECT id FROM {}.hits",
        (
            "CREATE DICTIONARY {}.lookup (id UInt64) PRIMARY KEY id "
            "SOURCE(CLICKHOUSE(DB '{}' TABLE 'hits')) LIFETIME(0) LAYOUT(FLAT())"
        ),
    ):
        live.execute(statement.replace("{}", database))
    described = {
        name: (item.id.subtype, item.facts["kind"], item.facts["engine"], "data" in item.facts)
        for name, item in found(database).items()
    }
    assert described == {
        "hits": ("table", "table", "MergeTree", False),
        "small": ("table", "table", "Log", False),
        "gathered": ("table", "table", "Merge", True),
        "joined": ("table", "table", "Join", True),
        "seen": ("view", "view", "View", False),
        "kept": ("view", "materialized view", "MaterializedView", False),
        "passed": ("view", "materialized view", "MaterializedView", False),
        "lookup": ("table", "dictionary", "Dictionary", True),
    }
    assert found(database)["hits"].size
    assert found(database)["seen"].size == 0
    assert found(database)["hits"].facts["server"].startswith("ClickHouse 2")


def test_a_refreshed_view_is_definition_only(live: ClickhouseServer, database: str) -> None:
    live.execute(
        f"CREATE MATERIALIZED VIEW {database}.hourly REFRESH EVERY 1 HOUR (id UInt8) "
        "ENGINE MergeTree ORDER BY id AS SELECT 1 AS id",
        allow_experimental_refreshable_materialized_view="1",
    )
    assert found(database)["hourly"].facts["data"] == "definition only"


def test_a_table_that_only_looks_like_that_of_a_view_is_listed(
    live: ClickhouseServer, database: str
) -> None:
    live.execute(f"CREATE TABLE {database}.`.inner.mine` (id UInt8) ENGINE Log")
    live.execute(f"CREATE TABLE {database}.`.tb-restore-x` (id UInt8) ENGINE Log")
    assert set(found(database)) == {".inner.mine"}


def test_what_a_database_only_shows_is_not_supported(
    live: ClickhouseServer, database: str
) -> None:
    live.execute(f"CREATE TABLE {database}.src (id UInt64, w String) ENGINE MergeTree ORDER BY id")
    live.execute(
        f"CREATE DICTIONARY {database}.d (id UInt64, w String) PRIMARY KEY id "
        f"SOURCE(CLICKHOUSE(TABLE 'src' DB '{database}')) LAYOUT(FLAT()) LIFETIME(0)"
    )
    live.execute(f"SYSTEM RELOAD DICTIONARY {database}.d")  # else it is not shown
    live.execute(f"CREATE DATABASE {database}_shown ENGINE Dictionary")
    shown = [item for item in discover(()) if item.id.level2 == f"{database}_shown"]
    assert len(shown) == 1
    assert "only shows what another system holds" in shown[0].facts["unsupported"]
    assert "unsupported" not in found(database)["d"].facts


def test_the_table_that_a_refresh_makes_meanwhile_is_none_of_ours(
    live: ClickhouseServer, database: str
) -> None:
    live.execute(
        f"CREATE MATERIALIZED VIEW {database}.v REFRESH EVERY 1 HOUR ENGINE MergeTree ORDER BY id "
        "AS SELECT number AS id FROM numbers(5)"
    )
    ((uuid,),) = live.rows(
        f"SELECT toString(uuid) FROM system.tables WHERE database = '{database}' AND name = 'v'"
    )
    name = f"{database}.`.tmp.inner_id.{uuid}`"
    live.execute(f"CREATE TABLE IF NOT EXISTS {name} (id UInt8) ENGINE Log")
    assert set(found(database)) == {"v"}


def test_databases_of_the_server_itself_are_left_out(live: ClickhouseServer) -> None:
    databases = {item.id.level2 for item in discover(())}
    assert databases.isdisjoint({"system", "information_schema", "INFORMATION_SCHEMA"})


def test_patterns_select(live: ClickhouseServer, database: str) -> None:
    live.execute(f"CREATE TABLE {database}.hits (id UInt8) ENGINE Log")
    live.execute(f"CREATE VIEW {database}.seen AS SELECT 1")
    assert set(found(database, "clickhouse/view")) == {"seen"}
    assert set(found(database, f"clickhouse/*/{database}/h*")) == {"hits"}


def test_the_macro_names_the_cluster(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ClickhouseServer(server_folder / "ch-macros", macros={"cluster": "prod"}) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        server.execute("CREATE DATABASE shop")
        server.execute("CREATE TABLE shop.hits (id UInt8) ENGINE Log")
        assert [str(item.id) for item in discover(())] == ["clickhouse/table/prod/shop/hits"]


def test_the_name_of_the_cluster_stays_when_that_of_the_server_changes(
    live: ClickhouseServer, database: str, tmp_path: Path
) -> None:
    settings = Settings(Storage(tmp_path))
    assert cluster_name(settings, UUID, ["read"]) == "read"
    assert list(tmp_path.iterdir()) == []
    assert cluster_name(settings, UUID, ["one"], remember=True) == "one"
    assert cluster_name(settings, UUID, ["one", "two"]) == "one"
    assert cluster_name(settings, UUID, ["three"]) == "one"
    assert cluster_name(settings, UUID.replace("0", "1"), ["three"]) == "three"
    named = replace(settings, clickhouse_cluster="told")
    assert cluster_name(named, UUID, ["one"]) == "told"
    live.execute(f"CREATE TABLE {database}.hits (id UInt8) ENGINE Log")
    (told,) = [item.id for item in discovered((), named) if item.id.level2 == database]
    assert str(told) == f"clickhouse/table/told/{database}/hits"


def test_who_may_not_remember_the_name_goes_without(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").write_text("no folder")
    assert cluster_name(Settings(Storage(tmp_path)), UUID, [], remember=True) == "default"


def test_what_belongs_to_the_server_itself_is_listed_if_asked_for(
    live: ClickhouseServer, tmp_path: Path
) -> None:
    told = Settings(Storage(tmp_path), clickhouse_system=True)
    listed = {item.id.level3: item for item in discovered((), told) if item.id.level2 == "system"}
    assert set(listed) == set(OF_SERVER)
    assert str(listed["users"].id) == "clickhouse/table/default/system/users"
    assert "data" not in listed["users"].facts
