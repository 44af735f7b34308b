"""Datasets are named as LXD names them, and our points are told from all other snapshots."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import SnapshotId
from three_backup.sources.lxd.daemon import names

BASE = "20261101T031600Z-base"
INCREMENTAL = "20261102T031600Z-incr-20261101T031600Z"


def object_of(subtype: str, project: str, name: str) -> ObjectId:
    return ObjectId("lxd", subtype, "pool", project, name)


@pytest.mark.parametrize(
    ("subtype", "project", "name", "datasets"),
    [
        ("container", "default", "web", ["containers/web"]),
        ("container", "shop", "web", ["containers/shop_web"]),
        ("vm", "default", "web", ["virtual-machines/web.block", "virtual-machines/web"]),
        ("vm", "shop", "w", ["virtual-machines/shop_w.block", "virtual-machines/shop_w"]),
        ("volume", "default", "data", ["custom/default_data"]),
        ("volume", "shop", "data", ["custom/shop_data"]),
    ],
)
def test_datasets_are_named_as_lxd_names_them(
    subtype: str, project: str, name: str, datasets: list[str]
) -> None:
    found = names.datasets("tank/lxd", object_of(subtype, project, name))
    assert list(found.values()) == [f"tank/lxd/{dataset}" for dataset in datasets]


@pytest.mark.parametrize("snapshot_id", [BASE, INCREMENTAL])
def test_a_point_says_which_snapshot_it_is(snapshot_id: str) -> None:
    snapshot = SnapshotId.parse(snapshot_id)
    assert snapshot is not None
    assert names.snapshot_of(names.point(snapshot)) == snapshot
    assert names.snapshot_of_zfs(names.zfs_point("tank/lxd/containers/web", snapshot)) == snapshot


@pytest.mark.parametrize("name", ["snap0", "tb-", "tb-mine", BASE, f"tb-{BASE}-2"])
def test_a_snapshot_of_others_is_no_point(name: str) -> None:
    assert names.snapshot_of(name) is None
    assert names.snapshot_of_zfs(f"tank/lxd/containers/web@snapshot-{name}") is None
    assert names.snapshot_of_zfs(f"tank/lxd/containers/web@tb-{BASE}") is None


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(min_size=1))
def test_any_name_passes_through_the_api(name: str, project: str) -> None:
    volume = object_of("volume", project.encode("utf-8", "replace").decode(), name)
    parts = urlsplit(names.url(volume, "snapshots", name))
    top, _, own = parts.path.partition("/custom/")
    assert top == "/1.0/storage-pools/pool/volumes"
    assert [unquote(segment) for segment in own.split("/")] == [name, "snapshots", name]
    assert parse_qs(parts.query, keep_blank_values=True) == {"project": [volume.level2]}


def test_an_unfinished_restore_has_the_same_name_each_time_and_one_that_lxd_takes() -> None:
    target = object_of("container", "default", "веб" * 30)
    unfinished = names.beside(target, names.RESTORING)
    assert unfinished == names.beside(target, names.RESTORING)
    assert unfinished != names.beside(object_of("container", "default", "web"), names.RESTORING)
    assert unfinished.level3.isascii()
    assert len(unfinished.level3) < 63


@pytest.mark.parametrize(
    ("subtype", "name"),
    [
        *(("container", name) for name in ("web", "Web-2", "1", "a" * 63)),
        *(("volume", name) for name in ("data", "with blank", "--force", "\u0436", "a" * 200)),
    ],
)
def test_what_lxd_may_take_for_a_name_is_left_to_it(subtype: str, name: str) -> None:
    names.check(object_of(subtype, "default", name))


@pytest.mark.parametrize(
    "name",
    [
        *("", "-v", "--all", "web-", "a b", "a;reboot", "$(id)", "../web", "/etc", "a/b", "a@b"),
        *("web\n", "\u0436", "\u0661", "a" * 64, "w_b", "tank%2Flxd"),
    ],
)
def test_what_no_container_can_be_named_is_refused(name: str) -> None:
    with pytest.raises(BackupError, match="no container can be named") as refused:
        names.check(object_of("container", "default", name))
    assert "dashes" in refused.value.hint


@pytest.mark.parametrize("name", ["", "a/b", "../site", "/"])
def test_what_no_volume_can_be_named_is_refused(name: str) -> None:
    with pytest.raises(BackupError, match="no volume can be named"):
        names.check(object_of("volume", "default", name))


@pytest.mark.parametrize(
    ("kind", "zfs_type", "below", "why"),
    [
        *((kind, "filesystem", [], None) for kind in ("container", "filesystem volume")),
        *((kind, "volume", [], "zvol") for kind in ("container", "filesystem volume")),
        *((kind, "volume", [], None) for kind in ("block volume", "virtual machine")),
        ("iso volume", None, [], "iso volumes are not backed up yet"),
        ("container", None, [], None),
        ("container", "filesystem", ["tank/c/a"], "tank/c/a below its dataset would be left out"),
        ("filesystem volume", "filesystem", list("abc"), "a, b and others below"),
    ],
)
def test_what_is_not_supported_is_told(
    kind: str, zfs_type: str | None, below: list[str], why: str | None
) -> None:
    told = names.why_unsupported(kind, zfs_type, below)
    assert (told is None) == (why is None)
    assert (why or "") in (told or "")


@pytest.mark.parametrize(
    ("subtype", "project", "longest"),
    [
        ("volume", "default", 180),
        ("volume", "p" * 20, 167),
        ("container", "default", 184),
        ("container", "p" * 130, 53),
        ("vm", "p" * 130, 41),
    ],
)
def test_a_name_has_to_leave_room_for_an_incremental(
    subtype: str, project: str, longest: int
) -> None:
    snapshot = SnapshotId.parse(INCREMENTAL)
    assert snapshot
    target = object_of(subtype, project, "a" * longest)
    names.check_length("tank/lxd", target)
    (dataset, *_) = names.datasets("tank/lxd", target).values()
    assert len(names.zfs_point(dataset, snapshot)) == 255
    with pytest.raises(BackupError, match="is 1 bytes too long"):
        names.check_length("tank/lxd", object_of(subtype, project, "a" * (longest + 1)))


def test_a_restore_has_to_find_room_for_the_points_of_what_it_puts_aside() -> None:
    with pytest.raises(BackupError, match="too long"):
        names.check_length("tank/lxd", object_of("volume", "p" * 160, "a"))
