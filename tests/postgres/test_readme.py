"""The preparations in the README are enough when followed to the letter."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.forked import Forked
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

from .living import living
from .taking import run

_README = (Path(__file__).parents[2] / "README.md").read_text()


def block(begin: str) -> str:
    """Return the indented block of the README that begins with this text."""
    found = re.search(rf"^    {re.escape(begin)}.*\n(?: {{4}}.*\n)*", _README, re.MULTILINE)
    assert found is not None, begin
    return re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE)


@pytest.fixture(params=[17, 18])
def untouched(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server that nobody has prepared: without summaries, open to its owner only."""
    version = request.param
    settings = {"summarize_wal": "off"}
    with PostgresServer(server_folder / f"readme{version}", version, settings) as server:
        yield server


def test_what_the_readme_prepares_is_enough_for_a_base_and_an_incremental(
    untouched: PostgresServer, server_folder: Path, seaweed: SeaweedServer, tools: Forked
) -> None:
    (untouched.pgdata / "pg_hba.conf").write_text(
        f"local all postgres trust\n{block('host  all          backup')}"
    )
    for statement in re.split(r";[^\n]*\n", block("ALTER SYSTEM SET summarize_wal"))[:-1]:
        run(untouched, "postgres", statement)
    run(
        untouched,
        "postgres",
        "CREATE DATABASE shop",
        "REVOKE CONNECT ON DATABASE shop FROM public",
        *re.findall(r"`(GRANT CONNECT ON DATABASE shop TO \w+)`", _README),
    )
    run(untouched, "shop", "CREATE TABLE orders AS SELECT 1 AS id")
    with living(server_folder, untouched, seaweed, tools) as host:
        for name in [name for name in host.environ if name.startswith("PG")]:
            del host.environ[name]
        env = f"{block('PGHOST=127.0.0.1')}PGPORT={untouched.port}\n"
        (host.folder / ".env").write_text(env)
        (host.folder / ".env").chmod(0o600)
        for kind in ("base", "incremental"):
            turn = host.turn("postgres/table/shop/public/orders")
            assert (turn.kind, turn.status, turn.stderr) == (kind, 0, "")
