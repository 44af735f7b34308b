"""What is full, too long, below or between: told beforehand, never removed, never in the way."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd import receive

LONG = "v" * 185
_BETWEEN = """\
#!/bin/sh
case "$*" in
receive*)
    for point; do :; done
    made={folder}/${{point#*@}}
    if ! [ -e "$made" ]; then
        : > "$made"
        {zfs} snapshot "${{point%@*}}@autosnap_$(date +%s%N)" < /dev/null || exit 1
    fi ;;
esac
exec {zfs} "$@"
"""
"""Makes a snapshot of what is about to be received into, once a point, as sanoid and others do."""


@pytest.fixture(scope="module", autouse=True)
def filled(lab: Lab) -> None:
    names = ("full", "near", "deep", "watched", "half", "plain")
    lab.sh(
        f"""
        set -e
        for name in {" ".join(names)}; do lxc init tiny $name; done
        for name in full near; do lxc config device override $name root size=12MiB; done
        for name in tight sunk {LONG}; do lxc storage volume create default $name; done
        lxc storage volume set default tight size=8MiB
        lxc init tiny shut -s secret
        lxc storage volume create secret vault
        lxc storage volume create second disk --type=block size=8MiB
        """
    )
    fill(lab, "tank/lxd/containers/full", "rootfs/fill")
    fill(lab, "tank/lxd/custom/default_tight", "fill")
    inside.change(lab, dataset("near"), "head -c 11200000 /dev/urandom > rootfs/fill")


def fill(lab: Lab, dataset: str, path: str) -> None:
    inside.change(lab, dataset, f"dd if=/dev/urandom of={path} bs=64k 2> /dev/null || true")


def dataset(name: str) -> str:
    return f"tank/lxd/containers/{name}"


def container(name: str) -> str:
    return f"lxd/container/default/default/{name}"


def volume(name: str, pool: str = "default") -> str:
    return f"lxd/volume/{pool}/default/{name}"


def taking(*ids: str, kind: str = "base") -> str:
    select = " ".join(f"-s {object_id}" for object_id in ids)
    return f"tb-discover {select} | tb-snapshot --{kind} | tb-upload"


@pytest.fixture
def snapshots_between(host: Host, lab: Lab) -> Iterator[None]:
    folder, before = host.folder / "between", host.environ["PATH"]
    folder.mkdir()
    (folder / "zfs").write_text(_BETWEEN.format(zfs=lab.bindir / "zfs", folder=folder))
    (folder / "zfs").chmod(0o755)
    host.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    yield
    host.environ["PATH"] = before


def test_a_full_container_is_told_before_lxd_would_wait_for_itself(host: Host, lab: Lab) -> None:
    failed = host.sh(taking(container("full"), container("plain")))
    assert failed.status == 1
    assert "full: it is full, with 0 bytes left" in failed.stderr
    taken = {record["level3"]: record.get("error", {}).get("code") for record in failed.records}
    assert taken == {"full": "lxd.full", "plain": None}
    assert inside.points(lab, dataset("full")) == []


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("zfs unload-key tank/secret", "zfs load-key tank/secret", "lxd.key"),
        (
            "zfs set readonly=on tank/secret/containers/shut",
            "zfs inherit readonly tank/secret/containers/shut",
            "lxd.readonly",
        ),
    ],
)
def test_a_container_that_cannot_be_written_is_told_before_lxd_would_wait_for_itself(
    host: Host, lab: Lab, before: str, after: str, code: str
) -> None:
    shut, vault = "lxd/container/secret/default/shut", volume("vault", "secret")
    lab.sh(before)
    failed = host.sh(taking(shut, vault))
    lab.sh(after)
    assert [record.get("error", {}).get("code") for record in failed.records] == [code, None]
    host.good(taking(shut))


def test_what_filled_up_since_then_still_lets_its_points_go(host: Host, lab: Lab) -> None:
    lab.sh("lxc config device set full root size=20MiB")
    host.good(f"{taking(container('full'))} && {taking(container('full'))}")
    fill(lab, dataset("full"), "rootfs/more")
    host.configure(max_base_snapshots_local=1)
    host.good(f"tb-discover -s {container('full')} | tb-rotate")
    host.configure()
    assert len(inside.points(lab, dataset("full"))) == 1


def test_a_full_pool_is_told_with_a_remedy(host: Host, lab: Lab) -> None:
    lab.sh("zfs create second/dummy")
    lab.sh("zfs set reservation=$(zfs get -Hpo value available second) second/dummy")
    failed = host.sh(taking(volume("disk", "second")))
    assert failed.status == 1
    assert failed.records[0]["error"]["code"] == "lxd.full"
    assert "make room" in failed.stderr
    assert "second: it is full" in host.sh("tb-check").stdout
    lab.sh("zfs destroy second/dummy")
    host.good(taking(volume("disk", "second")))


@pytest.mark.parametrize(
    ("object_id", "before", "after"),
    [
        (volume("tight"), "tank/lxd/custom/default_tight", "tank/lxd/custom/default_tight2"),
        (container("near"), dataset("near"), dataset("near2")),
    ],
)
def test_what_needs_more_than_its_size_when_it_comes_back_gets_it(
    host: Host, lab: Lab, object_id: str, before: str, after: str
) -> None:
    host.good(taking(object_id))
    (record,) = host.good(f"tb-restore --level3-suffix=2 {object_id}").records
    assert "its size is" in record["restored"]["notes"][0]
    assert inside.tree(lab, before) == inside.tree(lab, after)
    assert int(lab.sh(f"zfs get -Hpo value available {after}")) > 1 << 20


@pytest.mark.parametrize(
    ("object_id", "own"),
    [(container("deep"), dataset("deep")), (volume("sunk"), "tank/lxd/custom/default_sunk")],
)
def test_datasets_below_are_neither_left_out_in_silence_nor_destroyed(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch, object_id: str, own: str
) -> None:
    host.good(f"{taking(object_id)} && tb-discover -s {object_id} > listed")
    lab.sh(f"zfs create {own}/child")
    (record,) = host.good(f"tb-discover -s {object_id} | tb-snapshot --base").records
    assert f"{own}/child below its dataset would be left out" in record["unsupported"]
    before = inside.points(lab, own)
    assert host.sh("tb-snapshot --base < listed").records[0]["error"]["code"] == "lxd.unsupported"
    assert inside.points(lab, own) == before
    other_pool = "" if "/volume/" in object_id else "--level1 second --overwrite"
    for options in ("--dry-run --overwrite", "--overwrite", other_pool or "--overwrite"):
        refused = host.sh(f"tb-restore {options} {object_id}")
        assert refused.status == 1
        assert f"{own}/child would be removed with it" in refused.stderr
    monkeypatch.setenv("PATH", host.environ["PATH"])
    with pytest.raises(BackupError, match="would be removed with it"):
        receive.remove(ObjectId.parse(lab.words.own(object_id)))
    lab.sh(f"zfs destroy -r {own}/child")  # it is there still
    host.good(f"tb-restore --overwrite {object_id}")


def test_a_name_too_long_for_an_incremental_is_told_at_the_base(host: Host, lab: Lab) -> None:
    failed = host.sh(taking(volume(LONG)))
    assert failed.status == 1
    too_long = 5 + len(lab.words.daemon) - len("lxd")  # the pool's dataset is named after it
    assert f"{too_long} bytes too long" in failed.stderr
    assert "rename" in failed.stderr
    assert inside.points(lab, f"tank/lxd/custom/default_{LONG}") == []


def test_snapshots_of_others_hinder_no_restore_and_stay_at_the_source(
    host: Host, lab: Lab, snapshots_between: None
) -> None:
    watched = container("watched")
    host.good(taking(watched))
    lab.sh(f"zfs snapshot {dataset('watched')}@autosnap_hourly")
    inside.change(lab, dataset("watched"), "echo more > rootfs/word")
    (record,) = host.good(f"{taking(watched, kind='incremental')} | tb-rotate").records
    assert record["snapshot"]["kind"] == "incremental"
    then = inside.tree(lab, dataset("watched"))
    host.good(f"tb-restore --level3 nearby {watched}")
    host.wipe()
    host.good(f"tb-restore --level3 faraway {watched}")
    for name in ("nearby", "faraway"):
        assert inside.tree(lab, dataset(name)) == then
        assert not [point for point in inside.points(lab, dataset(name)) if "tb-" in point]
    assert "autosnap_hourly" in inside.points(lab, dataset("watched"))


def test_a_point_that_lxd_does_not_know_serves_and_goes_like_any_other(
    host: Host, lab: Lab
) -> None:
    half = container("half")
    host.good(taking(half))
    lab.sh(
        'lxd sql global "DELETE FROM instances_snapshots WHERE instance_id ='
        " (SELECT id FROM instances WHERE name = 'half')\" && lxd sql global \"DELETE FROM"
        " storage_volumes_snapshots WHERE storage_volume_id ="
        " (SELECT id FROM storage_volumes WHERE name = 'half')\""
    )
    (base,) = inside.points(lab, dataset("half"))
    assert inside.query(lab, "/1.0/instances/half/snapshots") == []
    (record,) = host.good(taking(half, kind="incremental")).records
    assert record["snapshot"]["kind"] == "incremental"
    host.good(taking(half))
    host.configure(max_base_snapshots_local=1, max_incremental_snapshots_local=0)
    host.good(f"tb-discover -s {half} | tb-rotate")
    host.configure()
    assert base not in inside.points(lab, dataset("half"))


def test_a_point_that_zfs_does_not_know_is_followed_by_a_base(host: Host, lab: Lab) -> None:
    host.good(taking(container("plain")))
    newest = inside.points(lab, dataset("plain"))[-1]
    lab.sh(f"zfs destroy {dataset('plain')}@{newest}")
    done = host.good(taking(container("plain"), kind="incremental"))
    assert f"{newest.removeprefix('snapshot-tb-')} is gone" in done.stderr
