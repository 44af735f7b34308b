"""Drills and overwriting restores leave nothing behind, however large the table is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse.relations import DRILLING

from .taking import Taking, leftovers, rows, table
from .test_backup import insert, make

LIMITED = "<clickhouse><max_table_size_to_drop>10000</max_table_size_to_drop>"


@pytest.fixture(scope="module")
def limited(server_folder: Path) -> Iterator[ClickhouseServer]:
    """A server with max_table_size_to_drop set to ten kilobytes."""
    server = ClickhouseServer(server_folder / "ch-limited")
    configuration = server.folder / "config.xml"
    configuration.write_text(configuration.read_text().replace("<clickhouse>", LIMITED, 1))
    with server:
        server.execute("CREATE DATABASE shop")
        make(server, "shop", 2000)
        yield server


@pytest.fixture
def proving(
    limited: ClickhouseServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> Taking:
    for name, value in limited.environ.items():
        monkeypatch.setenv(name, value)
    return Taking(limited, storage)


def databases(server: ClickhouseServer) -> list[tuple[str]]:
    return server.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{DRILLING}')")


def test_a_drill_of_a_table_that_is_too_large_to_drop_leaves_nothing(
    limited: ClickhouseServer, proving: Taking
) -> None:
    hits = table("shop", "hits")
    proving.take(hits)
    for _ in range(2):
        assert proving.drill(hits).facts["rows"] == rows(limited, hits)[0][0]
        assert databases(limited) == []


def test_a_large_table_that_was_replaced_is_dropped(
    limited: ClickhouseServer, proving: Taking
) -> None:
    hits = table("shop", "hits")
    proving.take(hits)
    before = rows(limited, hits)
    limited.execute(insert("shop", 2000))
    assert proving.restore(hits, overwrite=True).notes == ()
    assert rows(limited, hits) == before
    assert leftovers(limited, "shop") == []
