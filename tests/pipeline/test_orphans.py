"""tb-rotate --orphans shows and removes what belongs to no snapshot, as an administrator does."""

import subprocess

import pytest

from tests.pipeline.conftest import BIN, Host, store
from tests.pipeline.test_clock import HOUR, Shift, shift
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier

__all__ = ["shift"]
WEEK = 7 * 24 * HOUR
LOST = "20200101T000000Z-base"


@pytest.fixture
def host(host: Host) -> Host:
    """A host with real processes, whose clock can be shifted."""
    return host.real


@pytest.fixture
def lost(host: Host, shift: Shift) -> Carrier:
    """The carrier of a host with a base in S3, beside the rest of one that was never finished."""
    host.good("tb-run")
    carrier = Carrier(host.good("tb-discover").records[0]["carrier"])
    for number in (1, 2):
        store(host).write(f"data/{carrier}/{LOST}/core.pack.0000{number}", b"x" * 1000)
    shift(WEEK + HOUR)
    return carrier


def left(host: Host) -> set[str]:
    return {found.key for found in store(host).all_keys("")} - {"owner.json"}


def test_orphans_are_shown_and_removed_and_nothing_else_is(host: Host, lost: Carrier) -> None:
    before = left(host)
    told = host.good("tb-rotate --orphans")
    (record,) = told.records
    (orphan,) = record["orphans"]
    assert (record["id"], record["carrier"]) == (lost, lost)
    assert (orphan["snapshot"], orphan["keys"], orphan["bytes"]) == (LOST, 2, 2000)
    assert told.stderr == (
        "tb-rotate: 2 keys of 2 kB can be removed: tb-rotate --orphans --remove\n"
    )
    assert left(host) == before
    assert host.good("tb-rotate --orphans --remove --dry-run").records == [record]
    assert left(host) == before
    removed = host.good("tb-rotate --orphans --remove")
    assert removed.records[0]["orphans"] == [{**orphan, "removed": True}]
    assert removed.stderr == "tb-rotate: 2 keys of 2 kB removed that belonged to no snapshot\n"
    assert left(host) == {key for key in before if LOST not in key}
    nothing = host.good("tb-rotate --orphans")
    assert (nothing.stdout, nothing.stderr) == (
        "",
        "tb-rotate: every key of data in S3 belongs to a snapshot\n",
    )


def test_what_is_younger_than_a_week_is_shown_and_stays(
    host: Host, lost: Carrier, shift: Shift
) -> None:
    shift(WEEK - HOUR)
    told = host.good("tb-rotate --orphans --remove")
    (orphan,) = told.records[0]["orphans"]
    assert orphan["stays"] == "younger than a week"
    assert "2 keys of 2 kB belong to no snapshot, and are left alone for now" in told.stderr
    assert store(host).size(f"data/{lost}/{LOST}/core.pack.00001") == 1000


def test_a_carrier_that_another_tool_works_on_is_left_alone(host: Host, lost: Carrier) -> None:
    with carrier_lock(host.local_dir, lost):
        refused = host.sh("tb-rotate --orphans --remove")
    assert refused.status == 1
    assert "it is in use by" in refused.stderr
    assert refused.records[0]["error"]["code"] == "lock.carrier"
    assert store(host).size(f"data/{lost}/{LOST}/core.pack.00001") == 1000


def test_a_host_that_does_not_own_the_prefix_removes_nothing(host: Host, lost: Carrier) -> None:
    store(host).write("owner.json", b'{"v":1,"host":"another","name":"db2"}')
    for command in ("tb-rotate --orphans", "tb-rotate --orphans --remove"):
        refused = host.sh(command)
        assert refused.status == 78
        assert "another host writes there (db2, another)" in refused.stderr
    assert store(host).size(f"data/{lost}/{LOST}/core.pack.00001") == 1000


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("tb-rotate --remove < /dev/null", 2, "--remove goes with --orphans only"),
    ],
)
def test_a_slip_is_told(host: Host, command: str, status: int, said: str) -> None:
    outcome = host.sh(command)
    assert outcome.status == status
    assert said in outcome.stderr


def test_without_a_bucket_there_are_no_orphans_to_look_for(host: Host) -> None:
    host.configure(s3_bucket=None)
    assert host.sh("tb-rotate --orphans").status == 78


def test_a_person_sees_a_table(host: Host, lost: Carrier) -> None:
    shown = subprocess.run(
        ["script", "-qec", f"{BIN}/tb-rotate --orphans", "/dev/null"],
        env=host.environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert lost in shown
    (line,) = [line for line in shown.splitlines() if LOST in line]
    assert line.split() == [LOST, "2", "2", "kB", "7d"]
    assert "{" not in shown
