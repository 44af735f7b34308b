"""A stream arrives whole or not at all, and an upload that was cut resumes where it stopped."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import MEGABYTE, members, started, until

BIG = "lxd/container/default/default/big"
DATASET = "tank/lxd/containers/big"
_CUT = """\
#!/bin/sh
case "$*" in
send*-n*|list*|get*) exec {zfs} "$@" ;;
*) {zfs} "$@" | head -c {bytes}; echo 'cannot send: cut short' >&2; exit 1 ;;
esac
"""
_STALLED = """\
#!/bin/sh
case "$*" in
send*-n*|list*|get*) exec {zfs} "$@" ;;
*) {zfs} "$@" | {{ head -c {bytes}; sleep 600; }} ;;
esac
"""
_HELD = """\
#!/bin/sh
case "$*" in
{verb}*{word}*) echo $$ > {held}; exec sleep 600 ;;
*) exec {program} "$@" ;;
esac
"""
_HELD_LATER = """\
#!/bin/sh
case "$*" in
{verb}*{word}*)
    [ ! -e {held}.once ] || {{ echo $$ > {held}; exec sleep 600; }}
    : > {held}.once ;;
esac
exec {program} "$@"
"""
"""Stops the program where it is called so for the second time."""

_DENIED = """\
#!/bin/sh
case "$*" in
config*edit*tb-restore-*) echo 'Error: not today' >&2; exit 1 ;;
*) exec {program} "$@" ;;
esac
"""


@pytest.fixture(scope="module", autouse=True)
def big(lab: Lab) -> None:
    """Make a container whose stream fills two parts of an upload, as it does not compress."""
    lab.sh("lxc init tiny big")
    inside.change(lab, DATASET, "head -c 20000000 /dev/urandom > rootfs/noise")


@pytest.fixture
def path(host: Host) -> Iterator[Path]:
    """A folder that comes first on the host's PATH."""
    folder, before = host.folder / "first", host.environ["PATH"]
    folder.mkdir(exist_ok=True)
    host.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    yield folder
    host.environ["PATH"] = before
    for program in folder.iterdir():
        program.unlink()


def place(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def parts(host: Host) -> int:
    journals = (host.local_dir / "journal").rglob("*.journal")
    return sum(path.read_bytes().count(b'"part":') for path in journals)


def data(host: Host) -> list[str]:
    return [found.key for found in store(host).all_keys("data/")]


def test_a_stream_that_breaks_is_no_object_and_the_next_run_sends_it(
    host: Host, lab: Lab, path: Path
) -> None:
    host.good(f"tb-discover -s {BIG} | tb-snapshot --base > taken")
    place(path, "zfs", _CUT.format(zfs=lab.bindir / "zfs", bytes=2 * MEGABYTE))
    failed = host.sh("tb-upload < taken | tb-rotate")
    assert failed.status == 1
    assert "cut short" in failed.stderr
    assert data(host) == []
    assert list(store(host).all_keys("manifests/")) == []
    assert host.good(f"tb-list --stored -s {BIG} --json").records[0]["snapshots"][0]["place"] == [
        "local"
    ]


def test_an_upload_that_was_killed_goes_on_where_it_stopped(
    host: Host, lab: Lab, path: Path
) -> None:
    place(path, "zfs", _STALLED.format(zfs=lab.bindir / "zfs", bytes=18 * MEGABYTE))
    with started(host, "/bin/sh", "-c", "tb-upload < taken") as process:
        until(lambda: parts(host) >= 1, seconds=300)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    assert data(host) == []
    (path / "zfs").unlink()
    (record,) = host.good("tb-upload < taken").records
    uploaded = record["uploaded"]
    assert uploaded["resumed"] == 16 * MEGABYTE
    assert uploaded["resumed"] < uploaded["bytes"]
    then = inside.tree(lab, DATASET)
    host.wipe()
    host.good(f"tb-restore --level3 again {BIG}")
    assert inside.tree(lab, "tank/lxd/containers/again") == then


def test_what_fails_while_it_is_received_leaves_nothing(host: Host, lab: Lab) -> None:
    (key,) = [key for key in data(host) if key.endswith("stream.00001")]
    body = store(host).read(key)
    store(host).write(key, body[: len(body) // 2] + b"x" + body[len(body) // 2 + 1 :])
    failed = host.sh(f"tb-restore --level3 damaged {BIG}")
    store(host).write(key, body)
    assert failed.status == 1
    assert "damaged" in failed.stderr
    names = lab.sh("zfs list -Ho name -r tank/lxd/containers; lxc list --format csv -c n")
    assert "damaged" not in names
    assert "tb-restore" not in names


def test_a_restore_that_was_killed_leaves_nothing_that_the_next_one_does_not_take_away(
    host: Host, lab: Lab, path: Path
) -> None:
    held = path.parent / "held"
    script = _HELD.format(verb="receive", word="", held=held, program=lab.bindir / "zfs")
    place(path, "zfs", script)
    with started(host, "tb-restore", "--level3", "late", lab.words.own(BIG)) as process:
        until(held.exists, seconds=300)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    assert not inside.exists(lab, "late")
    (path / "zfs").unlink()
    assert [found["id"] for found in host.good("tb-discover -s lxd/container/*/*/*").records] == [
        BIG.replace("big", "again"),
        BIG,
    ]
    host.good(f"tb-restore --level3 late {BIG}")
    assert inside.tree(lab, "tank/lxd/containers/late") == inside.tree(lab, DATASET)
    assert "tb-restore" not in lab.sh("lxc list --format csv -c n")


def test_a_point_whose_run_was_killed_before_its_manifest_is_taken_away(
    host: Host, lab: Lab, path: Path
) -> None:
    held, before = path.parent / "made", inside.points(lab, DATASET)
    script = _HELD.format(verb="send", word="-n", held=held, program=lab.bindir / "zfs")
    place(path, "zfs", script)
    command = f"tb-discover -s {BIG} | tb-snapshot --base"
    with started(host, "/bin/sh", "-c", lab.words.own(command)) as process:
        until(held.exists, seconds=300)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    (orphan,) = set(inside.points(lab, DATASET)) - set(before)
    (path / "zfs").unlink()
    host.good(f"tb-run -s {BIG}")
    host.good(f"tb-discover -s {BIG} | tb-snapshot --incremental | tb-upload | tb-rotate")
    assert orphan not in inside.points(lab, DATASET)


def test_what_was_to_be_replaced_is_what_it_was_when_a_restore_fails_or_is_killed(
    host: Host, lab: Lab, path: Path
) -> None:
    inside.create_network(lab)
    lab.sh(f"lxc config device add big eth1 {inside.NIC}")
    host.good(f"tb-discover -s {BIG} | tb-snapshot --base | tb-upload")
    was, held = inside.instance(lab, "big"), path.parent / "configured"
    place(path, lab.words.client, _DENIED.format(program=lab.bindir / lab.words.client))
    failed = host.sh(f"tb-restore --overwrite {BIG}")
    assert failed.status == 1
    assert "not today" in failed.stderr
    assert inside.instance(lab, "big") == was
    script = _HELD_LATER.format(
        verb="config", word="edit*tb-restore-", held=held, program=lab.bindir / lab.words.client
    )
    place(path, lab.words.client, script)
    with started(host, "tb-restore", "--overwrite", lab.words.own(BIG)) as process:
        until(held.exists, seconds=300)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    assert not inside.exists(lab, "big")
    (path / lab.words.client).unlink()
    refused = host.sh(f"tb-restore {BIG}")
    assert refused.status == 1
    assert "there is one already" in refused.stderr
    assert inside.instance(lab, "big") == was
    host.good(f"tb-restore --overwrite {BIG}")
    assert "tb-re" not in lab.sh("lxc list --format csv -c n")
    now = inside.instance(lab, "big")["config"]
    identity = "volatile.cloud-init.instance-id"
    assert now[identity] == was["config"][identity]
