"""A restore goes by what the server lists, whatever becomes of the client that waits for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError

from .taking import Taking, leftovers, rows, table
from .test_backup import make

Waiting = Callable[[str], None]
_CLIENT = """#!/bin/sh
client="{real}"
statement=$(cat)
case "$statement" in
    "RESTORE TABLE"*) {script} ;;
esac
printf %s "$statement" | exec "$client" "$@"
"""


@pytest.fixture
def waiting(live: ClickhouseServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Waiting:
    """Say how a client that waits for a RESTORE behaves, in shell; $client is the real one."""

    def behave(script: str) -> None:
        folder = tmp_path / "behaving"
        folder.mkdir()
        client = folder / "clickhouse-client"
        real = f"{live.bindir}/clickhouse-client"
        client.write_text(_CLIENT.format(real=real, script=script))
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{live.environ['PATH']}")

    return behave


@pytest.mark.parametrize(
    "script",
    [
        'printf "%s ASYNC" "$statement" | "$client" "$@"; exit 0',
        'printf "%s ASYNC" "$statement" | "$client" "$@"; exit 1',
        'printf %s "$statement" | "$client" "$@" > "$0.said"; exec sleep 600',
    ],
    ids=["ends early", "fails early", "waits on"],
)
def test_a_client_that_does_not_answer_changes_nothing(
    live: ClickhouseServer, database: str, taking: Taking, waiting: Waiting, script: str
) -> None:
    make(live, database)
    hits = table(database, "hits")
    before = rows(live, hits)
    taking.take(hits)
    waiting(script)
    assert taking.restore(hits, level3="again").facts["rows"] == before[0][0]
    assert rows(live, table(database, "again")) == before
    assert leftovers(live, database) == []


def test_a_statement_that_never_reached_the_server_fails_with_what_the_client_said(
    live: ClickhouseServer, database: str, taking: Taking, waiting: Waiting
) -> None:
    make(live, database, 10)
    taking.take(table(database, "hits"))
    waiting('echo "Code: 241. DB::Exception: too much. (MEMORY_LIMIT_EXCEEDED)" >&2; exit 241')
    with pytest.raises(BackupError) as refused:
        taking.restore(table(database, "hits"), level3="again")
    assert refused.value.code == "clickhouse.memory"
    assert leftovers(live, database) == []
