"""No later run uploads what retention removed, and a failure keeps everything."""

import json
import subprocess
from typing import Any
from unittest.mock import ANY

from tests.pipeline.conftest import BIN, Host

LOCAL_ABOVE_S3: dict[str, Any] = {
    "max_base_snapshots_local": 3,
    "max_incremental_snapshots_local": 0,
    "max_base_snapshots_s3": 1,
    "max_incremental_snapshots_s3": 0,
}


def test_what_s3_would_not_keep_is_uploaded_by_no_later_run(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.configure(**LOCAL_ABOVE_S3)
    for _ in range(3):
        host.good("tb-discover | tb-snapshot --base")
    first = host.good("tb-discover | tb-upload | tb-rotate").records[0]
    assert len(first["uploaded"]["snapshots"]) == 1
    assert first["removed"] == {"local": [], "s3": [], "seconds": ANY}
    (listed, *_) = host.good("tb-list --json --snapshots < /dev/null").records
    assert [snapshot["place"] for snapshot in listed["snapshots"]] == [
        ["local"],
        ["local"],
        ["local", "s3"],
    ]
    again = host.good("tb-discover | tb-upload | tb-rotate").records[0]
    assert again["uploaded"]["snapshots"] == []
    assert again["removed"] == {"local": [], "s3": [], "seconds": ANY}


def test_a_damaged_old_manifest_keeps_no_new_snapshot_from_s3(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.configure(**{**LOCAL_ABOVE_S3, "max_base_snapshots_s3": 3})
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    (manifest,) = host.local_dir.glob("postgres/cluster/*/*/manifest.json")
    manifest.write_text("{}")
    host.good("tb-discover | tb-snapshot --base | tb-upload")
    host.wipe()
    (listed, *_) = host.good("tb-list --json --snapshots < /dev/null").records
    assert len(listed["snapshots"]) == 2


def test_a_record_that_failed_keeps_the_snapshots_of_its_carrier_wherever_it_stands(
    host: Host,
) -> None:
    host.execute("create table noise (id int); create table quiet (id int)")
    host.configure(max_base_snapshots_local=1, max_stage="snapshot_incremental")
    host.good("tb-discover | tb-snapshot --base")
    taken = host.good("tb-discover | tb-snapshot --base").records
    failed = {**taken[-1], "error": {"tool": "x", "code": "x", "message": "x"}}
    lines = [json.dumps(record) for record in (*taken[:-1], failed)]
    lines.insert(1, "nonsense")
    done = host.tool("tb-rotate", stdin="\n".join(lines))
    assert done.status == 1
    assert "nothing is removed while a record of it fails" in done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines() if '"line"' not in line] == [
        *taken[:-1],
        failed,
    ]
    assert len(host.good("tb-discover | tb-rotate").records[0]["removed"]["local"]) == 1


def test_a_carrier_of_one_object_is_rotated_without_waiting_for_the_next_record(
    host: Host,
) -> None:
    line = json.dumps({"v": 1, "id": "lxd/container/default/default/web", "todo": []})
    with subprocess.Popen(
        [BIN / "tb-rotate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=host.environ,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{line}\n"
        process.stdin.close()
        assert process.wait() == 0


def test_nothing_is_due_while_more_lies_here_than_s3_would_keep(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.configure(**LOCAL_ABOVE_S3)
    for _ in range(3):
        host.good("tb-discover | tb-snapshot --base | tb-upload")
    host.good("tb-discover | tb-rotate")
    (record, *_) = host.good("tb-discover | tb-plan").records
    assert (record["stage"], record["todo"]) == ("rotated_s3", [])
    (record, *_) = host.good("tb-run --json").records
    assert "uploaded" not in record
