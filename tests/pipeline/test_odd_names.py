"""Names that are not UTF-8 pass through all tools, into S3 and back."""

from collections.abc import Iterator

import pytest

from tests.pipeline.conftest import Host
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.spelling import Session, connect_to

CAFE = "caf\udce9"
IDS = {
    "postgres/table/ascii/caf%E9/caf%E9",
    "postgres/table/caf%E9/public/café",
    "postgres/view/ascii/public/v%E9",
}


def execute(host: Host, database: str, *statements: str) -> list[tuple[object, ...]]:
    server = host.server
    place = {"host": str(server.folder), "port": str(server.port)}
    given = {**place, "user": "postgres", "dbname": database}
    with connect_to(given, Session) as session:
        *first, last = (statement.encode(*AS_BYTES) for statement in statements)
        for statement in first:
            session.execute(statement)
        done = session.execute(last)
        return done.fetchall() if done.rownumber is not None else []


@pytest.fixture
def odd(host: Host) -> Iterator[Host]:
    """A host whose server has a database, and tables in another one, with odd names."""
    template = "LOCALE 'C' TEMPLATE template0"
    execute(host, "postgres", f"CREATE DATABASE ascii ENCODING SQL_ASCII {template}")
    execute(
        host,
        "ascii",
        f'CREATE DATABASE "{CAFE}" ENCODING UTF8 {template}',
        f'CREATE ROLE "{CAFE}"',
        f'CREATE SCHEMA "{CAFE}"',
        f'CREATE TABLE "{CAFE}"."{CAFE}" AS SELECT \'{CAFE}\' AS word',
        f'ALTER TABLE "{CAFE}"."{CAFE}" OWNER TO "{CAFE}"',
        f'CREATE VIEW "v\udce9" AS TABLE "{CAFE}"."{CAFE}"',
    )
    execute(host, CAFE, "CREATE TABLE café AS SELECT 1 AS i")
    yield host
    execute(
        host,
        "ascii",
        f'DROP DATABASE IF EXISTS "{CAFE}" WITH (FORCE)',
        f'DROP OWNED BY "{CAFE}" CASCADE',
        f'DROP ROLE "{CAFE}"',
    )
    execute(host, "postgres", "DROP DATABASE ascii WITH (FORCE)")


def test_ids_with_odd_bytes_round_trip_through_every_tool(odd: Host) -> None:
    host = odd
    host.real.good("LC_ALL=C tb-check -s postgres")
    said = " ".join(host.good("tb-check -s postgres").stdout.split())
    assert "database caf%E9, in database ascii tables or views: 2" in said
    select = "-s postgres/table/ascii -s postgres/view/ascii -s 'postgres/table/caf%E9'"
    stages = "tb-plan | jq -c . | tb-snapshot | jq -c . | tb-upload | tb-rotate"
    taken = host.good(f"tb-discover {select} | jq -c . | {stages}").records
    assert {record["id"] for record in taken} == IDS
    assert {record["level1"] for record in taken} == {"ascii", "caf%E9"}
    assert all("snapshot" in record for record in taken)

    execute(host, CAFE, "INSERT INTO café VALUES (2)")
    host.real.good(f"LC_ALL=C tb-discover {select} | tb-snapshot --incremental | tb-upload")
    host.wipe()
    listed = host.good(f"tb-discover {select} | tb-list --snapshots").stdout
    assert "caf%E9" in listed
    assert {record["id"] for record in host.good("tb-discover --stored").records} >= IDS
    host.good("tb-status")
    proven = host.good("tb-verify 'postgres/*caf%E9*'").records
    assert {record["id"] for record in proven} == {one for one in IDS if "caf%E9" in one}

    execute(host, "ascii", f'DROP SCHEMA "{CAFE}" CASCADE', f'DROP DATABASE "{CAFE}"')
    restored = host.good("tb-restore 'postgres/*/caf%E9/*' 'postgres/view/ascii/*'")
    assert {record["id"] for record in restored.records} == IDS
    assert "\\udc" not in restored.stdout + restored.stderr
    assert execute(host, CAFE, "SELECT i FROM café ORDER BY 1") == [(1,), (2,)]
    assert execute(host, "ascii", 'TABLE "v\udce9"') == [(CAFE,)]
    owner = f"SELECT tableowner FROM pg_tables WHERE tablename = '{CAFE}'"
    assert execute(host, "ascii", owner) == [(CAFE,)]
    beside = "tb-restore --level2 back 'postgres/table/ascii/caf%E9/caf%E9'"
    (record,) = host.real.good(f"LC_ALL=C {beside}").records
    assert record["restored"]["target"] == "postgres/table/ascii/back/caf%E9"
    assert execute(host, "ascii", f'SELECT word FROM back."{CAFE}"') == [(CAFE,)]


def test_a_run_backs_up_all_in_spite_of_odd_names(odd: Host) -> None:
    odd.real.good("tb-run")
    said = odd.real.good("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 tb-run")
    assert "Traceback" not in said.stderr
    ids = {record["id"] for record in odd.good("tb-discover --stored").records}
    assert ids >= IDS


def test_the_configuration_names_odd_bytes_as_ids_do(odd: Host) -> None:
    odd.configure("- postgres/table/caf%E9/*:\n    disable: true")
    planned = odd.good("tb-discover -s '*caf%E9*' | tb-plan")
    assert {record["id"]: record["take"] for record in planned.records} == {
        "postgres/table/ascii/caf%E9/caf%E9": "base",
        "postgres/table/caf%E9/public/café": None,
    }
    assert "caf" not in planned.stderr
    raw = odd.good("tb-discover -s \"postgres/table/$(printf 'caf\\351')\"")
    assert {record["id"] for record in raw.records} == {"postgres/table/caf%E9/public/café"}
