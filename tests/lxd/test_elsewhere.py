"""A restore names what its target lacks or forbids before it receives anything."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host
from tests.postgres.taking import EVERYWHERE
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd.daemon.failures import NoDatasetError
from three_backup.sources.lxd.receive import prepare, received

SITE = "lxd/volume/default/default/site"
WEB = "lxd/container/default/tight/web"
DATASETS = {SITE: "tank/lxd/custom/default_site", WEB: "tank/lxd/containers/tight_web"}
ALLOW = "lxc project set tight restricted.containers.lowlevel=allow"
NOTE = "\U0001f389 \u0416"


@pytest.fixture(scope="module", autouse=True)
def trees(host: Host, lab: Lab) -> dict[str, str]:
    """The trees of a volume and a container at the last of two snapshots.

    The volume changed by more than its quota. The container was in a project with limits, and is
    lost.
    """
    limits = "-c limits.memory=1GiB -c limits.cpu=4 -c limits.processes=500"
    features = "-c features.images=false -c features.profiles=false"
    lab.sh(
        f"""
        set -e
        mkdir /srv/gone /srv/profiles
        lxc storage volume create default site size=8MiB
        zfs set quota=none {DATASETS[SITE]}
        lxc project create tight {features} {limits}
        lxc profile create paths
        lxc profile device add paths first disk source=/srv/profiles path=/first
        lxc init tiny web --project tight -p default -p paths -c limits.memory=300MiB \\
            -c limits.cpu=1 -c limits.processes=100 -c user.note='{NOTE}'
        lxc config device add web second disk source=/srv/gone path=/second --project tight
        lxc config device add web third disk source=/usr path=/third --project tight
        """
    )
    for kind in ("base", "incremental"):
        inside.change(lab, DATASETS[SITE], "head -c 6000000 /dev/urandom > noise")
        inside.change(lab, DATASETS[WEB], f"echo {kind} > rootfs/word")
        host.good(f"tb-discover -s {SITE} -s {WEB} | tb-snapshot --{kind} | tb-upload")
    trees = {object_id: inside.tree(lab, dataset) for object_id, dataset in DATASETS.items()}
    lab.sh("lxc delete web --project tight && rmdir /srv/gone /srv/profiles")
    host.wipe()
    return trees


def made(lab: Lab) -> str:
    return lab.sh("zfs list -Ho name -r tank/lxd second/lxd")


def refused(host: Host, lab: Lab, command: str) -> str:
    """Check that the command is refused, with --dry-run too, and makes nothing; return why."""
    before = made(lab)
    planned, done = host.sh(f"{command} --dry-run"), host.sh(command)
    assert (planned.status, done.status) == (1, 1)
    assert "bytes_read" not in done.stdout
    assert made(lab) == before
    said = done.stderr.strip().splitlines()[0]
    assert said in planned.stderr
    return said


def test_no_volume_goes_where_those_of_the_default_project_are_used(host: Host, lab: Lab) -> None:
    said = refused(host, lab, f"tb-restore --level2 plain --level3 copy {SITE}")
    assert "project plain has no volumes of its own" in said
    assert "--level2 default" in said
    host.good(f"tb-restore --level2 shop --level3 copy {SITE}")


def test_a_volume_has_its_quota_when_all_of_it_was_received(
    host: Host, lab: Lab, trees: dict[str, str]
) -> None:
    host.good(f"tb-restore --level3 again {SITE}")
    again = "tank/lxd/custom/default_again"
    assert inside.tree(lab, again) == trees[SITE]
    assert lab.sh(f"zfs get -Hpo value quota {again}").strip() == str(8 << 20)


def test_what_the_host_has_no_path_for_is_named_and_left_out(
    host: Host, lab: Lab, trees: dict[str, str]
) -> None:
    elsewhere = f"tb-restore --level2 default {WEB}"
    said = refused(host, lab, elsewhere)
    assert "path /srv/profiles of the host, path /srv/gone of the host" in said
    assert "/usr" not in said
    done = host.good(f"{elsewhere} --without-devices")
    assert len(done.records[0]["restored"]["notes"]) == 2
    web = inside.instance(lab, "web")
    third = {"type": "disk", "source": "/usr", "path": "/third"}
    assert web["devices"] == {"first": {"type": "none"}, "third": third}
    assert web["config"]["user.note"] == NOTE
    assert inside.tree(lab, "tank/lxd/containers/web") == trees[WEB]
    lab.sh("lxc delete web && lxc profile delete paths")


def test_a_project_with_limits_says_what_to_allow_and_then_takes_it_back(
    host: Host, lab: Lab, trees: dict[str, str]
) -> None:
    said = refused(host, lab, f"tb-restore --without-devices {WEB}")
    assert "volatile.uuid" in said
    assert ALLOW in said
    host.good(f"tb-verify {WEB}")
    lab.sh(ALLOW)
    host.good(f"tb-restore --without-devices {WEB}")
    config = inside.instance(lab, "web", "tight")["config"]
    assert (config["limits.memory"], config["user.note"]) == ("300MiB", NOTE)
    assert inside.tree(lab, DATASETS[WEB]) == trees[WEB]
    lab.sh("lxc config device remove web third --project tight")  # would break a restriction
    lab.sh("lxc project unset tight restricted.containers.lowlevel")
    assert ALLOW in refused(host, lab, f"tb-restore --without-devices --overwrite {WEB}")
    lab.sh("lxc project set tight limits.memory=500MiB")
    beside = host.sh(f"tb-restore --without-devices --level3 beside {WEB}")
    assert "limits.memory" in beside.stderr
    assert "bytes_read" not in beside.stdout


def test_nothing_is_received_where_the_pool_makes_zvols_for_files(host: Host, lab: Lab) -> None:
    lab.sh("lxc storage set second volume.zfs.block_mode=true")
    before = made(lab)
    failed = host.sh(f"tb-restore --level1 second {SITE}")
    lab.sh("lxc storage unset second volume.zfs.block_mode")
    assert failed.status == 1
    assert "lxc storage unset second volume.zfs.block_mode" in failed.stderr
    assert made(lab) == before


def test_what_lxd_made_elsewhere_is_not_made_anew_by_zfs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restore into a project without volumes of its own, as if no check had noticed that."""
    monkeypatch.setenv("PATH", f"{lab.bindir}{os.pathsep}{os.environ['PATH']}")
    site, before = ObjectId.parse(lab.words.own(SITE)), made(lab)
    work = prepare(job(site), Wanted(site, replace(site, level2="plain")))
    with pytest.raises(NoDatasetError, match="dataset does not exist"), received(work, None):
        pass
    assert made(lab) == before


class Stored:
    """A snapshot whose files must not be read."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def read(self, name: str) -> bytes:
        raise AssertionError(name)

    def read_range(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange] = ()
    ) -> bytes:
        raise AssertionError(name)

    def place(self, name: str) -> str:
        raise AssertionError(name)


def job(site: ObjectId) -> RestoreJob:
    configuration = {"config": {}, "description": "", "content_type": "filesystem"}
    snapshot = SnapshotId.parse("20261101T031600Z-base")
    assert snapshot is not None
    facts = {"encrypted": False, "configuration": configuration}
    stored = Stored(Manifest(Carrier(site), snapshot, (), (), 1, 1, facts, "", "", ""))
    return RestoreJob(
        wanted=(),
        chain=(stored,),
        overwrite=False,
        source_settings=EVERYWHERE,
        work_dir=Path(),
        advance=lambda size: None,
        say=print,
    )
