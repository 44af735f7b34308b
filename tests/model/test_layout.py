"""Each name has its own path, made of characters that every store accepts."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from three_backup.model import layout
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import SnapshotId

BASE = SnapshotId(datetime(2026, 11, 1, 3, 16, tzinfo=UTC))
INCREMENTAL = SnapshotId(datetime(2026, 11, 2, 3, 16, tzinfo=UTC), BASE.time)
CARRIER = Carrier("postgres/cluster/7431298765")

anything = st.text(st.characters(exclude_categories=()), max_size=30)
awkward = st.one_of(
    anything,
    st.text("./=%-aя", max_size=700),
    st.integers(195, 205).map("a".__mul__),
    st.builds("{}{}".format, st.integers(190, 205).map("a".__mul__), st.text(".=/я", max_size=4)),
)


@given(awkward)
@example("")
@example(".")
@example("..")
@example("a" * 199 + ".")
@example("a" * 398 + "..")
@example("a" * 199 + "/b")
@example("\ud83d\ude00")
def test_a_path_can_be_read_back_for_every_name(carrier: str) -> None:
    assert layout.name(layout.path(carrier)) == carrier


@given(awkward)
def test_a_path_is_made_of_what_every_store_takes(carrier: str) -> None:
    for segment in layout.path(carrier).split("/"):
        assert re.fullmatch(r"[A-Za-z0-9._=-]{1,200}", segment)
        assert segment not in (".", "..")


@given(awkward, awkward)
def test_no_path_lies_inside_another_unless_the_names_do(one: str, other: str) -> None:
    inside = layout.path(other).startswith(layout.path(one) + "/")
    assert inside == other.startswith(one + "/")


@given(st.one_of(awkward, st.text("./=ADF2E-", max_size=12)))
def test_a_manifest_that_is_read_as_one_of_ours_lies_where_ours_lie(folder: str) -> None:
    carrier = layout.carrier_of_manifests(f"manifests/{folder}")
    assert carrier is None or layout.manifest_folder(carrier) == f"manifests/{folder}"


@pytest.mark.parametrize("folder", ["a=ZZ", "a=d0", "a=FF", "a/", "=", "a=/", "=2E=2E", "а"])
def test_the_folder_of_somebody_else_is_a_carrier_without_snapshots(folder: str) -> None:
    assert layout.path(layout.name(folder)) != folder


@pytest.mark.parametrize(
    ("carrier", "path"),
    [
        ("lxd/container/default/default/web-1.2_b", "lxd/container/default/default/web-1.2_b"),
        (
            "clickhouse/table/default/db/заказ",
            "clickhouse/table/default/db/" + "=D0=B7=D0=B0=D0=BA=D0=B0=D0=B7",
        ),
        ("postgres/table/a%2Fb/=/ ", "postgres/table/a=252Fb/=3D/=20"),
        ("a//./../...", "a/=-/=2E/=2E./..."),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "=/xx"),
    ],
)
def test_paths_as_an_operator_sees_them(carrier: str, path: str) -> None:
    assert layout.path(carrier) == path


def test_keys_of_a_snapshot() -> None:
    place = "postgres/cluster/7431298765"
    name = "20261102T031600Z-incr-20261101T031600Z"
    assert layout.manifest_key(CARRIER, INCREMENTAL) == f"manifests/{place}/{name}.json"
    assert layout.data_key(CARRIER, INCREMENTAL, "s3.pack") == f"data/{place}/{name}/s3.pack"


@given(st.builds(ObjectId, st.just("t"), st.just("s"), anything, anything, anything))
def test_keys_can_be_read_back(object_id: ObjectId) -> None:
    carrier = str(object_id)
    for snapshot in (BASE, INCREMENTAL):
        folder, _, name = layout.manifest_key(Carrier(carrier), snapshot).rpartition("/")
        assert layout.carrier_of_manifests(folder) == carrier
        assert layout.snapshots_of(name) == [snapshot]
        data = layout.data_key(Carrier(carrier), snapshot, "stream.00001")
        assert layout.parse_data_key(data) == (carrier, snapshot)
        hold = layout.hold_key(Carrier(carrier), snapshot)
        assert layout.parse_hold_key(hold) == (carrier, snapshot)


@pytest.mark.parametrize(
    "key",
    [
        "manifests/a/b/20261101T031600Z-base",
        "manifests/a/b/notes.json",
        "manifests/20261101T031600Z-base.json",
        "manifests/a=ZZ/20261101T031600Z-base.json",
        "manifests/a=d0/20261101T031600Z-base.json",
        "manifests/a=FF/20261101T031600Z-base.json",
        "manifests/a//20261101T031600Z-base.json",
        "manifests/а/20261101T031600Z-base.json",
        "other/a/b/20261101T031600Z-base.json",
        "owner.json",
        "",
    ],
)
def test_the_keys_of_others_are_nobodys(key: str) -> None:
    folder, _, name = key.rpartition("/")
    assert layout.carrier_of_manifests(folder) is None or not layout.snapshots_of(name)
    assert layout.parse_hold_key(key.replace("manifests", "keep", 1)) is None


@pytest.mark.parametrize(
    "key", ["data/a/20261101T031600Z-base/", "data/a/b/c", "x/a/b", "data", ""]
)
def test_the_data_keys_of_others_are_nobodys(key: str) -> None:
    assert layout.parse_data_key(key) is None
