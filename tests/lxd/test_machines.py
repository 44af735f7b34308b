"""A virtual machine is a disk and a configuration, which are taken, sent, proved and restored
together. None of them runs: the lab's machine has no KVM."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.lxd.conftest import LxdHost
from tests.pipeline.conftest import store
from tests.pipeline.test_failures import MEGABYTE, members, started, until
from tests.pipeline.test_verify import by_id, damaged, errors
from three_backup.model.objects import Carrier
from three_backup.sources.base import PointHeldError
from three_backup.sources.lxd.daemon.names import snapshot_of
from three_backup.sources.lxd.datasets import points

GUEST = "lxd/vm/default/shop/guest"
DATA = "lxd/volume/default/shop/data"
FORCED = f"tb-discover -s {GUEST} -s {DATA} | tb-snapshot --incremental"
OWN = "size=24MiB"
_STALLED = """\
#!/bin/sh
case "$*" in
send*-n*|list*|get*) exec {zfs} "$@" ;;
send*.block@*) {zfs} "$@" | {{ head -c {bytes}; sleep 600; }} ;;
*) exec {zfs} "$@" ;;
esac
"""


@dataclass
class Guest:
    """What three snapshots of a virtual machine took, and what there was at each of them."""

    taken: list[dict[str, Any]] = field(default_factory=list)  # its records
    content: list[str] = field(default_factory=list)  # of both datasets
    configuration: dict[str, Any] = field(default_factory=dict)  # at the end


def content(lab: Lab, machine: str) -> str:
    """Return the SHA-256 of a disk, and every path of the configuration. machine: a dataset."""
    zvol = f"{machine}.block"
    return inside.block(lab, zvol, f"sha256sum < /dev/zvol/{zvol}") + inside.tree(lab, machine)


def write(lab: Lab, machine: str, number: int) -> None:
    zvol, megabytes = f"{machine}.block", 1 if number else 18
    line = f"dd if=/dev/urandom of=/dev/zvol/{zvol} bs=1M count={megabytes} seek={number}"
    inside.block(lab, zvol, f"{line} conv=notrunc,fsync 2>/dev/null")
    inside.change(lab, machine, f"echo {number} >> qemu.nvram; chmod 600 qemu.nvram")


@pytest.fixture(scope="module")
def guest(host: LxdHost, lab: Lab) -> Guest:
    """Three snapshots, the first upload of them killed; then the machine and local files go."""
    machine = "tank/lxd/virtual-machines/shop_guest"
    lab.sh(
        f"""
        set -e
        lxc storage volume create default data --type=block size=8MiB --project shop
        lxc init --empty --vm guest -d root,{OWN} --project shop -c limits.memory=256MiB \\
            -c user.note='its own' -c boot.autostart=true </dev/null
        lxc config device add guest more disk pool=default source=data --project shop
        """
    )
    guest = Guest()
    for number in range(3):
        write(lab, machine, number)
        host.good(f"{FORCED} > taken")
        if not number:
            kill_an_upload(host, lab)
        records = by_id(host.good("tb-upload < taken | tb-rotate"))
        guest.taken.append(records[GUEST])
        guest.content.append(content(lab, machine))
    guest.configuration = instance(lab, "guest")
    lab.sh("lxc delete guest --project shop")
    host.wipe()
    return guest


def kill_an_upload(host: LxdHost, lab: Lab) -> None:
    """Kill an upload of the disk in the middle."""
    folder, before = host.folder / "first", host.environ["PATH"]
    folder.mkdir()
    stalled = folder / "zfs"
    stalled.write_text(_STALLED.format(zfs=lab.bindir / "zfs", bytes=17 * MEGABYTE))
    stalled.chmod(0o755)
    host.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    with started(host, "/bin/sh", "-c", "tb-upload < taken") as process:
        until(lambda: journaled(host.local_dir), seconds=300)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    host.environ["PATH"] = before


def journaled(local_dir: Path) -> bool:
    journals = (local_dir / "journal").rglob("stream.journal")
    return any(b'"part":' in path.read_bytes() for path in journals)


def test_it_is_one_object_of_two_datasets(guest: Guest) -> None:
    kinds = [record["snapshot"]["kind"] for record in guest.taken]
    assert kinds == ["base", "incremental", "incremental"]
    sent = [record["uploaded"]["bytes"] for record in guest.taken]
    assert all(MEGABYTE < size < 2 * MEGABYTE for size in sent[1:])
    assert guest.taken[0]["uploaded"]["resumed"] == 16 * MEGABYTE
    assert [record["kind"] for record in guest.taken] == ["virtual machine"] * 3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_snapshot_comes_back_in_another_pool_and_project(
    host: LxdHost, lab: Lab, guest: Guest, number: int
) -> None:
    snapshot, pool = guest.taken[number]["snapshot"]["id"], ("second", "secret")[number % 2]
    host.good(
        f"tb-restore --snapshot {snapshot} --level1 {pool} --level2 default --level3 other"
        f" --without-devices {GUEST}"
    )
    root = {"second": "second/lxd", "secret": "tank/secret"}[pool]
    machine = f"{root}/virtual-machines/other"
    assert content(lab, machine) == guest.content[number]
    assert inside.points(lab, machine) == inside.points(lab, f"{machine}.block") == []
    lab.sh("lxc delete other")


def test_in_its_place_it_is_what_it_was_and_is_replaced_together(
    host: LxdHost, lab: Lab, guest: Guest
) -> None:
    machine = "tank/lxd/virtual-machines/shop_guest"
    quotas = f"zfs get -Hpo value quota,volsize {machine} {machine}.block"
    for options in ("", "--overwrite"):
        host.good(f"tb-restore {options} {GUEST}")
        assert content(lab, machine) == guest.content[2]
        assert described(instance(lab, "guest")) == described(guest.configuration)
        assert str(24 << 20) in lab.sh(quotas).split()
    (done,) = host.good(f"tb-discover -s {GUEST} | tb-snapshot | tb-upload").records
    assert (done["snapshot"]["kind"], bool(done["why"])) == ("base", True)
    (near,) = host.good(f"tb-restore --level3 near {GUEST}").records  # out of the pool itself
    assert near["restored"]["notes"] == ["it is without more: guest has its volume"]
    assert content(lab, machine.replace("guest", "near")) == guest.content[2]
    identities = {instance(lab, name)["config"].get("volatile.uuid") for name in ("guest", "near")}
    assert len(identities) == 2
    lab.sh("lxc delete near --project shop")


def test_a_hold_on_one_dataset_keeps_the_point_in_both(
    host: LxdHost, lab: Lab, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon alone would remove it from the disk, and then fail."""
    machine = "tank/lxd/virtual-machines/shop_guest"
    (point,) = inside.points(lab, machine)
    snapshot = snapshot_of(point.removeprefix("snapshot-"))
    assert snapshot is not None
    monkeypatch.setenv("PATH", f"{lab.bindir}{os.pathsep}{os.environ['PATH']}")
    lab.sh(f"zfs hold keep {machine}@{point}")
    carrier = Carrier(lab.words.own(GUEST))
    with pytest.raises(PointHeldError, match="stays, something holds it"):
        points.remove(carrier, snapshot)
    assert inside.points(lab, f"{machine}.block") == [point]
    lab.sh(f"zfs release keep {machine}@{point}")
    points.remove(carrier, snapshot)
    assert inside.points(lab, machine) == inside.points(lab, f"{machine}.block") == []


def test_a_drill_reads_both_and_damage_of_either_is_found(
    host: LxdHost, lab: Lab, guest: Guest
) -> None:
    assert by_id(host.good(f"tb-verify {GUEST}"))[GUEST]["drilled"]["how"] == "restored"
    s3 = store(host)
    keys = [found.key for found in s3.all_keys(f"data/{host.words.own(GUEST)}/")]
    for stream in ("stream.00001", "configuration.00001"):
        key = max(key for key in keys if key.endswith(f"/{stream}"))  # of the newest snapshot
        with damaged(s3, key, len(s3.read(key)) // 2):
            for how in ("", "--read-only"):
                found = host.sh(f"tb-verify {how} {GUEST}")
                assert (found.status, list(errors(found))) == (1, [GUEST])
            assert host.sh(f"tb-restore --level3 bad {GUEST}").status == 1
    assert "tb-re" not in lab.sh("zfs list -Ho name -r tank; lxc list --project shop -f csv -c n")
    assert not inside.exists(lab, "bad", "shop")


def instance(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = inside.instance(lab, name, "shop")
    return found


def test_it_does_not_take_the_place_of_a_container(host: LxdHost, lab: Lab, guest: Guest) -> None:
    lab.sh("lxc init tiny namesake --project shop")
    for options in ("--dry-run", ""):
        refused = host.sh(f"tb-restore {options} --overwrite --level3 namesake {GUEST}")
        assert refused.status == 1
        assert "a container has that name" in refused.stderr
    assert instance(lab, "namesake")["config"]["image.os"] == "busybox"


def described(instance: dict[str, Any]) -> dict[str, Any]:
    keys = ("architecture", "devices", "ephemeral", "profiles")
    own = ("volatile.apply_", "volatile.last_state.", "volatile.cloud-init.")
    config = {
        name: value for name, value in instance["config"].items() if not name.startswith(own)
    }
    return {"config": config, **{key: instance[key] for key in keys}}
