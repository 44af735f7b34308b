"""What LXD had comes back in Incus, and what Incus had in LXD, on a host that has both."""

import os
from collections.abc import Callable

import pytest

from tests.lab.lab import Lab
from tests.lab.sample import DAEMONS
from tests.lab.words import Words
from tests.lxd import inside
from tests.lxd.conftest import LxdHost

WEB = "lxd/container/default/default/web"
DATA = "lxd/volume/default/default/data"
GUEST = "lxd/vm/default/default/guest"
TREES = {WEB: "tank/lxd/containers/web", GUEST: "tank/lxd/virtual-machines/guest"}
ZVOLS = ("tank/lxd/custom/default_data", f"{TREES[GUEST]}.block")
UNKNOWN = {"lxd": "security.devlxd", "incus": "security.guestapi"}
"""A key of each daemon that the other does not know."""


@pytest.fixture
def other(lab: Lab, labs: Callable[[str], Lab]) -> Lab:
    """The daemon beside the lab's."""
    (name,) = set(DAEMONS) - {lab.words.daemon}
    return labs(name)


def content(lab: Lab) -> list[str]:
    hashes = (inside.block(lab, zvol, f"sha256sum < /dev/zvol/{zvol}") for zvol in ZVOLS)
    return [*hashes, *(inside.tree(lab, dataset) for dataset in TREES.values())]


def test_all_of_it_comes_back_in_the_other_one(host: LxdHost, lab: Lab, other: Lab) -> None:
    host.words = Words("lxd")  # each daemon is named as it is
    host.environ["PATH"] = f"{other.bindir}{os.pathsep}{host.environ['PATH']}"
    ids = [lab.words.own(text) for text in (DATA, WEB, GUEST)]
    unknown = UNKNOWN[lab.words.daemon]
    lab.sh(
        f"""
        set -e
        lxc storage volume create default data --type=block size=8MiB
        lxc init tiny web -c limits.memory=200MiB -c user.note=own -c {unknown}=false
        lxc init --empty --vm guest -d root,size=16MiB -c limits.memory=256MiB </dev/null
        lxc config device add guest more disk pool=default source=data
        """
    )
    for kind in ("base", "incremental"):
        for zvol in ZVOLS:
            inside.block(lab, zvol, f"head -c 3000000 /dev/urandom > /dev/zvol/{zvol}")
        inside.change(lab, TREES[WEB], f"echo {kind} >> rootfs/word; chown 1000:1001 rootfs/word")
        inside.change(lab, TREES[GUEST], f"echo {kind} >> qemu.nvram")
        host.good(
            f"tb-discover -s {' -s '.join(ids)} | tb-snapshot --{kind} | tb-upload | tb-rotate"
        )
    then, before = content(lab), inside.instance(lab, "web")
    lab.sh("lxc delete web guest && lxc storage volume delete default data")
    host.wipe()
    done = host.good(f"tb-restore --into {other.words.daemon} {' '.join(ids)}").records
    assert content(other) == then
    targets = [record["restored"]["target"] for record in done]
    assert targets == [other.words.own(text) for text in (DATA, WEB, GUEST)]
    notes = " ".join(note for record in done for note in record["restored"].get("notes", ()))
    assert f"it is without {unknown}, which" in notes
    assert "start only one" in notes
    now = inside.instance(other, "web")
    for key in ("limits.memory", "user.note", "volatile.uuid"):
        assert now["config"][key] == before["config"][key]
    assert now["devices"] == before["devices"]
    other.sh("lxc start web && lxc exec web -- stat -c %u:%g:%s /word | grep 1000:1001:17")
    other.sh("lxc delete --force web")
