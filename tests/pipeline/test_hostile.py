"""Hostile text in records and names is at most refused, never executed.

A word is hostile if it means something to SQL, a shell, an option parser or a file system.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import HASH
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.model.objects import ObjectId

MARK = Path(gettempdir()) / "three_backup-was-here"
WORDS = (
    f"$(touch {MARK})",
    f"`touch {MARK}`; touch {MARK}",
    'x"; drop table noise; --',
    "x'; drop table noise; --",
    "x` settings a=1; drop table noise",
    "--help",
    f"-o{MARK}",
    f"../../../../../../..{MARK}",
    "a%00b%n",
    "..",
    "*",
    "line\nbreak",
)
VALUES: tuple[Any, ...] = (
    None,
    7,
    -1,
    1e308,
    10**400,
    True,
    "",
    [],
    {},
    [[]],
    "x" * 9999,
    "\0",
    "\ud800",
)
TIGHT: dict[str, Any] = {"max_base_snapshots_s3": 1, "max_base_snapshots_local": 0}
TOOLS = ("plan", "snapshot", "upload", "rotate", "restore", "verify", "list")


@pytest.fixture(scope="module")
def host(host_of_module: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with a table in both servers, each with a snapshot in S3."""
    host = host_of_module
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    host.execute("create table noise as select i as id from generate_series(1, 99) i")
    clickhouse.execute(f"CREATE DATABASE {host.database}")
    clickhouse.execute(
        f"CREATE TABLE {host.database}.noise ENGINE MergeTree ORDER BY id AS "
        "SELECT number AS id FROM numbers(99)"
    )
    host.good(f"tb-run -s '*/{host.database}/*'")
    yield host
    clickhouse.execute(f"DROP DATABASE {host.database} SYNC")


@pytest.fixture(autouse=True)
def untouched(host: Host) -> Iterator[None]:
    """Check after each test that no hostile word took effect."""
    MARK.unlink(missing_ok=True)
    then, around = host.rows(HASH), sorted(host.folder.parent.iterdir())
    yield
    assert not MARK.exists()
    assert host.rows(HASH) == then
    assert sorted(host.folder.parent.iterdir()) == around


def records(host: Host) -> list[dict[str, Any]]:
    return host.good(f"tb-discover -s '*/{host.database}/*' | tb-plan").records


def spoiled(record: dict[str, Any]) -> Iterator[str]:
    """Yield the record as lines, each with a bad value in one field that it has or lacks."""
    others = ("stage", "todo", "take", "carrier", "snapshot", "error", "stored", "s3_prefix")
    for name in (*record, *others):
        for value in (*VALUES, *WORDS):
            yield json.dumps({**record, name: value}) + "\n"


def lines(host: Host) -> list[str]:
    found: list[str] = []
    for record in records(host):
        found += spoiled(record)
        source_type, subtype = record["type"], record["subtype"]
        for word in WORDS:
            object_id = str(ObjectId(source_type, subtype, word, word, word))
            found.append(json.dumps({"v": 1, "id": object_id}) + "\n")
            found.append(json.dumps({"v": 1, "id": "/".join([source_type, *[word] * 4])}) + "\n")
    return found


def test_a_table_is_drawn_of_whatever_records_say(host: Host) -> None:
    given = "".join(lines(host))
    given += '{"v": 1, "id": "lxd/volume/a/b/c", "unsupported": "x", "drilled_at": 7}\n'
    for options in ((), ("--stages", "--drills")):
        drawn = host.tool("tb-list", *options, stdin=given)
        assert "Traceback" not in drawn.stderr, drawn.stderr[-3000:]
        assert (drawn.status, drawn.stdout[:7]) == (1, "OBJECT ")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_answers_whatever_a_record_says(host: Host, tool: str) -> None:
    given = lines(host)
    options = ("--dry-run",) if tool in ("restore", "rotate") else ()
    options = ("--read-only",) if tool == "verify" else options
    options = ("--json",) if tool == "list" else options
    outcome = host.tool(f"tb-{tool}", *options, stdin="".join(given))
    assert "Traceback" not in outcome.stderr, outcome.stderr[-3000:]
    assert outcome.status == 1, outcome.stderr[-3000:]
    answers = [json.loads(line) for line in outcome.stdout.splitlines()]
    if tool in ("snapshot", "upload"):
        assert len(answers) == len(given)
    else:
        assert {answer["line"] for answer in answers if "line" in answer}


@pytest.mark.parametrize("word", WORDS)
def test_a_name_is_a_name_wherever_it_comes_back_to(
    host: Host, clickhouse: ClickhouseServer, word: str
) -> None:
    for object_id in (host.table("noise"), f"clickhouse/table/default/{host.database}/noise"):
        outcome = host.tool("tb-restore", f"--level3={word}", object_id)
        assert "Traceback" not in outcome.stderr
        assert outcome.status == 0, outcome.stderr
    assert host.rows('select count(*) from "{}"'.format(word.replace('"', '""'))) == [(99,)]
    host.execute('drop table "{}"'.format(word.replace('"', '""')))
    quoted = "`{}`".format(word.replace("\\", "\\\\").replace("`", "\\`"))
    assert clickhouse.rows(f"SELECT count() FROM {host.database}.{quoted}") == [(99,)]
    clickhouse.execute(f"DROP TABLE {host.database}.{quoted} SYNC")


def test_a_key_that_nobody_may_delete_is_said_and_costs_nothing(
    host: Host,
) -> None:
    denied = []

    def guarded(request: Request, forward: Forward) -> Answer:
        if request.method == "DELETE" or request.is_("POST", "delete"):
            denied.append(request.path)
            return refusal(403, "AccessDenied", "no deleting here")
        return forward()

    force = f"tb-discover -s {host.table('noise')} | tb-snapshot --base | tb-upload | tb-rotate"
    with proxy(host.s3.endpoint, guarded) as endpoint:
        host.configure(s3_endpoint=endpoint, **TIGHT)
        host.sh(force)
        outcome = host.sh(force)
    assert denied
    assert outcome.status == 1
    assert "access is denied" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    host.configure()
    snapshots = host.good(f"tb-list --stored --snapshots --json -s {host.table('noise')}").records
    assert len(snapshots[0]["snapshots"]) >= 2
    for snapshot in snapshots[0]["snapshots"]:
        host.good(f"tb-restore --snapshot {snapshot['id']} --level3 back {host.table('noise')}")
        assert host.rows(HASH.replace("noise", "back")) == host.rows(HASH)
        host.execute("drop table back")
    host.configure(**TIGHT)
    host.good(force)
    assert len(list(store(host).all_keys("manifests/postgres/"))) == 1
    host.configure()


def test_records_of_hostile_lines_keep_to_the_schema(host: Host) -> None:
    given = [f"{word}\n".replace("line\nbreak", "line") for word in WORDS]
    for tool in ("plan", "snapshot", "upload", "rotate"):
        outcome = host.tool(f"tb-{tool}", stdin="".join(given))
        assert outcome.status == 1
        assert outcome.records
