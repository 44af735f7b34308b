"""Recovery of a lost container by the commands of three_backup-recovery(7), exactly as printed."""

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host
from tests.pipeline.test_recovery_page import commands

SECTION = "A container or a volume is lost, or broken"
DATASETS = ("tank/lxd/containers/web", "tank/lxd/custom/default_site")


def test_a_container_comes_back_beside_and_all_of_it_on_a_lost_host(host: Host, lab: Lab) -> None:
    lab.sh(
        "lxc init tiny web && lxc storage volume create default site"
        " && lxc config device add web data disk pool=default source=site path=/data"
    )
    inside.change(lab, DATASETS[0], "echo precious > rootfs/word")
    inside.change(lab, DATASETS[1], "echo volume > word")
    host.good("tb-run -s lxd/container/default/default/web -s lxd/volume/default/default/site")
    then = [inside.tree(lab, dataset) for dataset in DATASETS]
    inside.change(lab, DATASETS[0], "rm rootfs/word")
    *steps, everything = commands(SECTION)
    for command in steps:
        host.good(command)
    assert inside.tree(lab, f"{DATASETS[0]}-then") == then[0]
    lab.sh("lxc delete web web-then && lxc storage volume delete default site")
    host.wipe()
    host.good(everything)
    assert [inside.tree(lab, dataset) for dataset in DATASETS] == then
    assert inside.instance(lab, "web")["devices"]["data"]["source"] == "site"
