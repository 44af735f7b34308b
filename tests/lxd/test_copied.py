"""What was encrypted, copied and lost in the first store comes back from the copies."""

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_copy import with_vault

VOLUME = "lxd/volume/default/default/safe"
DATASET = "tank/lxd/custom/default_safe"
_VAULT = "lxd-vault"


def test_a_volume_comes_back_out_of_encrypted_copies(host: Host, lab: Lab) -> None:
    lab.sh("lxc storage volume create default safe size=64MiB")
    host.s3.create_bucket(_VAULT)
    with_vault(
        host, _VAULT, f"encryption_key: {'8d' * 32}", encryption_key="7c" * 32, copy_to="vault"
    )
    for kind in ("base", "incremental"):
        inside.change(lab, DATASET, f"head -c 20000000 /dev/urandom > {kind}; echo secret > word")
        host.good(f"tb-discover -s {VOLUME} | tb-snapshot --{kind} | tb-upload")
    (copied,) = host.good(f"tb-copy --json --to vault {VOLUME}").records
    assert len(copied["copied"]["snapshots"]) == 2
    then = inside.tree(lab, DATASET)
    keys = [found.key for found in store(host).all_keys("")]
    assert not any(b"secret" in store(host).read(key) for key in keys)
    stream = next(key for key in keys if key.endswith("stream.00001"))
    whole = store(host).read(stream)
    store(host).write(stream, whole[:9_000_000] + b"damaged" + whole[9_000_007:])
    lab.sh("lxc storage volume delete default safe")
    host.wipe()
    (restored,) = host.good(f"tb-restore {VOLUME}").records
    assert restored["restored"]["mended"]["vault"] > 0
    assert inside.tree(lab, DATASET) == then
    lab.sh("lxc storage volume delete default safe")
    store(host).delete(keys)
    host.good(f"tb-restore --store vault {VOLUME}")
    assert inside.tree(lab, DATASET) == then
    host.configure()
    host.s3.delete_bucket(_VAULT)
