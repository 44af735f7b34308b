"""Drills of containers and volumes receive them; damage is found and named."""

from hashlib import sha256

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_verify import by_id, damaged, errors
from three_backup import pipe
from three_backup.sources.lxd.daemon.names import DRILLING

PROOF = "lxd/container/default/default/proof"
STORE = "lxd/volume/default/default/store"
DATASET = "tank/lxd/containers/proof"
BOTH = f"'{PROOF}' '{STORE}'"


@pytest.fixture(scope="module", autouse=True)
def chains(host: Host, lab: Lab) -> None:
    """Take two snapshots of each to S3; the container needs a profile that is gone."""
    lab.sh("lxc profile create extra && lxc init tiny proof -p default -p extra")
    lab.sh("lxc storage volume create default store")
    take = f"tb-discover -s {PROOF} -s {STORE} | tb-snapshot"
    host.good(f"{take} --base | tb-upload")
    inside.change(lab, DATASET, "head -c 100000 /dev/urandom > rootfs/noise")
    host.good(f"{take} --incremental | tb-upload")
    lab.sh("lxc profile remove proof extra && lxc profile delete extra")
    host.wipe()


def left(lab: Lab) -> str:
    """List the datasets and instances that a drill has left behind."""
    names = lab.sh("zfs list -Ho name -r tank/lxd; lxc list --format csv -c n")
    return "\n".join(name for name in names.split() if "tb-" in name)


def test_what_comes_back_is_received_whole_and_gone_again(host: Host, lab: Lab) -> None:
    host_id = pipe.Invocation("tb-verify", {}).host_id
    leftover = DRILLING + sha256(host_id.encode()).hexdigest()[:12]
    lab.sh(f"zfs create -o mountpoint=none tank/lxd/{leftover}.stream")
    proved = by_id(host.good(f"tb-verify {BOTH}"))
    assert sorted(proved) == [PROOF, STORE]
    assert {record["drilled"]["how"] for record in proved.values()} == {"restored"}
    assert proved[PROOF]["drilled"]["bytes_read"] > 1_000_000
    assert left(lab) == ""
    listed = by_id(host.good("tb-list --stored --drills --json"))
    assert all(listed[object_id]["drilled_at"] for object_id in proved)
    assert inside.exists(lab, "proof")


def test_a_damaged_byte_is_found_and_the_object_named(host: Host, lab: Lab) -> None:
    s3 = store(host)
    keys = [
        stored.key
        for stored in s3.all_keys(f"data/{lab.words.own(PROOF)}/")
        if "-incr-" in stored.key
    ]
    (key,) = [key for key in keys if key.endswith("stream.00001")]
    for how in ("", "--read-only"):
        with damaged(s3, key, len(s3.read(key)) // 2):
            found = host.sh(f"tb-verify {how} {BOTH}")
        assert (found.status, list(errors(found))) == (1, [PROOF])
        assert f"{PROOF}: " in found.stderr
        assert left(lab) == ""
        read = by_id(host.good(f"tb-verify {how} {BOTH}"))
        assert read[PROOF]["drilled"]["how"] == ("read" if how else "restored")
