"""A table of ClickHouse is open in a database that goes with the tool."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipeline.conftest import SCHEMA, Host
from tests.pipeline.test_cat_clickhouse import OLDER
from tests.pipeline.test_clickhouse import hits, mixed, words
from tests.pipeline.test_failures import started, until
from tests.pipeline.test_open import guardian
from three_backup.demo.clickhouse import ClickhouseServer

__all__ = ["mixed"]
_DATABASES = "SELECT count() FROM system.databases WHERE name LIKE 'three_backup_drill_%'"


@pytest.fixture
def stored(mixed: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    mixed.good("tb-run")
    clickhouse.execute(f"TRUNCATE TABLE {mixed.environ['VISITS']}.hits")
    mixed.wipe()
    yield mixed
    assert clickhouse.rows(_DATABASES) == [(0,)]


def _way(line: str) -> dict[str, Any]:
    record = json.loads(line)
    SCHEMA.validate(record)
    found: dict[str, Any] = record["opened"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_is_read_by_the_printed_command_until_the_tool_ends(
    stored: Host, clickhouse: ClickhouseServer, number: signal.Signals
) -> None:
    with started(stored, "tb-open", hits(stored), stored.table("orders")) as tool:
        assert tool.stdout is not None
        way, of_orders = _way(tool.stdout.readline()), _way(tool.stdout.readline())
        assert of_orders["command"].startswith("psql ")
        query = "select count(), sum(id), max(word) from hits"
        assert stored.good(f"echo '{query}' | {way['command']}").stdout == "1000\t499500\t999\n"
        stored.good("tb-discover -s clickhouse | tb-snapshot | tb-rotate")  # is not held up
        assert clickhouse.rows(f"SELECT count() FROM {way['relation']}") == [(1000,)]
        tool.send_signal(number)
        assert tool.wait() in (130, -signal.SIGKILL)
    until(lambda: clickhouse.rows(_DATABASES) == [(0,)], 10)


def test_two_tools_have_it_open_and_the_next_one_drops_what_a_killed_guardian_left(
    stored: Host, clickhouse: ClickhouseServer
) -> None:
    with (
        started(stored, "tb-open", hits(stored)) as tool,
        started(stored, "tb-open", hits(stored)) as other,
    ):
        assert tool.stdout is not None
        assert other.stdout is not None
        assert (
            _way(tool.stdout.readline())["relation"] != _way(other.stdout.readline())["relation"]
        )
        os.kill(guardian(tool), signal.SIGKILL)
        assert tool.wait() == 1
        assert clickhouse.rows(_DATABASES) == [(2,)]
        stored.good(f"tb-cat --limit 1 {hits(stored)}")
        assert clickhouse.rows(_DATABASES) == [(1,)]
        other.terminate()
        assert other.wait() == 143


def test_a_server_that_cannot_attach_has_it_restored_for_as_long(
    stored: Host, clickhouse: ClickhouseServer
) -> None:
    older = stored.folder / "older"
    older.mkdir()
    program = older / "clickhouse-client"
    program.write_text(OLDER.format(clickhouse.bindir / "clickhouse-client"))
    program.chmod(0o755)
    stored.environ["PATH"] = f"{older}:{stored.environ['PATH']}"
    with started(stored, "tb-open", hits(stored)) as tool:
        assert tool.stdout is not None
        relation = _way(tool.stdout.readline())["relation"]
        assert clickhouse.rows(f"SELECT count() FROM {relation}") == [(1000,)]
        tool.terminate()
        _, said = tool.communicate()
        assert (tool.returncode, said) == (143, "")


def test_a_view_has_nothing_to_open(stored: Host) -> None:
    refused = stored.sh(f"tb-open {words(stored)}")
    assert refused.status == 1
    assert "it has no rows of its own" in refused.stderr
