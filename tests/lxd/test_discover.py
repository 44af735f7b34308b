"""Discovery lists all that LXD holds, with four calls and one for each pool."""

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

POOLS = ("default", "second", "secret", "folder")
CONTAINERS = (
    "default/default/web",
    "second/default/other",
    "default/shop/web",
    "default/plain/bare",
)
VOLUMES = (
    "default/default/site",
    "default/shop/site",
    "second/default/raw",
    "default/default/lent",
)


@pytest.fixture(scope="module", autouse=True)
def filled(lab: Lab) -> None:
    lab.sh(
        """
        set -e
        lxc init tiny web
        lxc init tiny other -s second
        lxc init tiny web --project shop
        lxc init tiny bare --project plain
        lxc init tiny flat -s folder
        lxc snapshot web mine
        lxc storage volume create default site
        lxc storage volume snapshot default site mine
        lxc storage volume create default site --project shop
        lxc storage volume create default lent --project plain
        lxc storage volume create second raw --type=block size=8MB
        lxc storage volume create folder flat
        zfs create tank/lxd/custom/default_foreign
        """
    )


@pytest.fixture(scope="module")
def machine(lab: Lab) -> str:
    """The id of a virtual machine; one of its disks has no path."""
    lab.sh("lxc init --empty --vm guest -d root,size=8MiB </dev/null")
    lab.sh("lxc config device add guest more disk pool=second source=raw")
    return "lxd/vm/default/default/guest"


def test_a_new_host_is_set_up_for_what_is_found(host: Host) -> None:
    words = '--endpoint "$ENDPOINT" --bucket "$BUCKET" --local-dir "$HOME/new"'
    environ = {"ENDPOINT": host.s3.endpoint, "BUCKET": host.bucket}
    keys = f"{host.s3.access_key}\n{host.s3.secret_key}\n"
    done = host.sh(f"tb-init -c new.yaml -s lxd --prefix new --keys-from - {words}", keys, environ)
    assert done.status == 0, done.stdout + done.stderr
    assert "  good  lxd: LXD" in done.stdout
    assert "pool default" in done.stdout


def found(host: Host, *patterns: str) -> dict[str, dict[str, object]]:
    select = " ".join(f"-s '{pattern}'" for pattern in patterns or ("lxd",))
    return {record["id"]: record for record in host.good(f"tb-discover {select}").records}


def test_every_container_and_volume_is_listed_and_nothing_else(host: Host) -> None:
    listed = found(host)
    wanted = {f"lxd/container/{name}" for name in (*CONTAINERS, "folder/default/flat")}
    wanted |= {f"lxd/volume/{name}" for name in (*VOLUMES, "folder/default/flat")}
    assert set(listed) == wanted
    for container in (f"lxd/container/{name}" for name in CONTAINERS):
        assert int(str(listed[container]["size"])) > 1_000_000
    kinds = {listed[f"lxd/volume/{name}"]["kind"] for name in VOLUMES}
    assert kinds == {"filesystem volume", "block volume"}


def test_it_takes_four_calls_and_one_for_each_pool(host: Host, lab: Lab) -> None:
    with lab.calls() as calls:
        found(host)
    assert len(calls) == 4 + len(POOLS), calls


def test_pools_that_no_pattern_reaches_are_not_asked(host: Host, lab: Lab) -> None:
    with lab.calls() as calls:
        assert list(found(host, "lxd/container/second")) == ["lxd/container/second/default/other"]
    assert not any("tank" in argument for call in calls for argument in call)


def test_a_virtual_machine_is_listed_with_both_of_its_datasets(
    host: Host, lab: Lab, machine: str
) -> None:
    (listed,) = found(host, machine).values()
    datasets = (f"tank/lxd/virtual-machines/guest{suffix}" for suffix in (".block", ""))
    lines = [lab.sh(f"zfs get -Hpo value guid,referenced {dataset}") for dataset in datasets]
    values = "".join(lines).split()
    assert listed["kind"] == "virtual machine"
    assert listed["guid"] == f"{values[0]}+{values[2]}"
    assert listed["size"] == int(values[1]) + int(values[3])


def test_what_is_not_supported_is_named_and_harms_nobody(host: Host) -> None:
    listed = host.good("tb-list -s lxd < /dev/null").stdout
    assert "flat" in listed
    outcome = host.good("tb-run --json -s 'lxd/*/folder/*'")
    said = {record["id"]: record["unsupported"] for record in outcome.records}
    assert said.keys() == {"lxd/container/folder/default/flat", "lxd/volume/folder/default/flat"}
    assert all("ZFS" in why for why in said.values())
    assert not any("error" in record for record in outcome.records)
    assert "not supported" in host.good("tb-run -s 'lxd/*/folder/*'").stdout


def test_files_in_a_zvol_are_not_supported_whenever_it_is_noticed(host: Host, lab: Lab) -> None:
    volume, blocks = "lxd/volume/default/default/site", "zfs.block_mode=true block.filesystem=ext4"
    host.good(f"tb-discover -s {volume} > listed")
    lab.sh("lxc storage volume delete default site")
    lab.sh(f"lxc storage volume create default site {blocks}")
    failed = host.sh("tb-snapshot --base < listed")
    assert failed.status == 1
    assert f"{volume}: its files lie in a zvol (zfs.block_mode)" in failed.stderr
    assert inside.points(lab, "tank/lxd/custom/default_site") == []
    assert "zvol" in str(found(host, volume)[volume]["unsupported"])
    lab.sh(
        f"lxc storage set second volume.{blocks.split()[0]} && lxc init --empty boxed -s second"
    )
    boxed = "lxd/container/second/default/boxed"
    assert "zvol" in str(found(host, boxed)[boxed]["unsupported"])
