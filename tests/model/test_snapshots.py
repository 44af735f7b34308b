"""Snapshot ids, chains and manifests."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import (
    CarriedObject,
    Kind,
    Manifest,
    SnapshotId,
    StoredFile,
    chain,
    next_time,
)

START = datetime(2026, 11, 1, 3, 16, tzinfo=UTC)
MOMENTS = st.integers(0, 10**9).map(lambda seconds: START + timedelta(seconds=seconds))


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def manifest() -> Manifest:
    users = ObjectId("postgres", "table", "prod", "public", "юзеры")
    return Manifest(
        carrier=Carrier("postgres/cluster/7381"),
        snapshot=SnapshotId(at(1), at(0)),
        objects=(CarriedObject(users, 8192, {"kind": "table"}),),
        files=(
            StoredFile("core.pack", 10),
            StoredFile("index.zst", 3, "ab" * 32, volume_size=16),
            StoredFile("local.pack", 0, local_only=True),
        ),
        source_size=100,
        stored_size=13,
        facts={"timeline": 1},
        program="three_backup 0.1.0",
        server="PostgreSQL 17.10",
        host="db1",
    )


@given(MOMENTS, st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=999)))
def test_parsing_undoes_formatting(time: datetime, age: timedelta | None) -> None:
    parent = None if age is None else (time - age).replace(microsecond=0)
    snapshot = SnapshotId(time, parent)
    assert SnapshotId.parse(str(snapshot)) == snapshot


def test_the_name_tells_kind_and_parent() -> None:
    assert str(SnapshotId(at(0))) == "20261101T031600Z-base"
    incremental = SnapshotId.parse("20261101T041600Z-incr-20261101T031600Z")
    assert incremental is not None
    assert incremental.kind is Kind.INCREMENTAL
    assert incremental.parent == at(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "base",
        "20261101T031600Z",
        "20261301T031600Z-base",
        "20261101T240000Z-base",
        "20261101T031600Z-base.json",
        "20261101T031600Z-incr-20261101T031600Z",
        "20261101T031600Z-incr-20261102T031600Z",
        "٢٠٢٦1101T031600Z-base",
    ],
)
def test_what_is_not_a_snapshot_is_nobodys(text: str) -> None:
    assert SnapshotId.parse(text) is None


def test_a_chain_begins_with_its_base() -> None:
    base, first, second = SnapshotId(at(0)), SnapshotId(at(1), at(0)), SnapshotId(at(2), at(1))
    other = SnapshotId(at(3))
    assert chain([other, second, base, first], second) == [base, first, second]
    assert chain([base], base) == [base]


def test_a_chain_without_a_link_is_none() -> None:
    assert chain([SnapshotId(at(0))], SnapshotId(at(2), at(1))) is None


@given(MOMENTS, st.none() | MOMENTS)
def test_a_new_snapshot_is_always_the_newest(now: datetime, newest: datetime | None) -> None:
    time = next_time(now, newest)
    assert time >= now
    assert newest is None or time > newest


def test_a_manifest_comes_back_as_it_was() -> None:
    assert Manifest.from_json(manifest().to_json(), "here") == manifest()


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"snapshot": "yesterday"},
        {"files": [{"name": "../../etc/passwd", "size": 1}]},
        {"files": [{"name": "a/b", "size": 1}]},
        {"files": [{"name": "core.pack", "size": -1}]},
        {"files": [{"name": "core.pack", "size": 1, "volume_size": 0}]},
        {"files": [{"name": "core.pack", "size": "1"}]},
        {"files": {"name": "core.pack"}},
        {"objects": [{"id": "users", "size": 1}]},
        {"objects": None},
        {"facts": None},
        {"source_size": None},
    ],
)
def test_a_manifest_that_lies_is_refused_by_name(change: dict[str, Any]) -> None:
    fields = json.loads(manifest().to_json()) | change
    del fields["sha256"]
    with pytest.raises(BackupError, match=r"s3://backup/x\.json"):
        Manifest.from_json(json.dumps(fields).encode(), "s3://backup/x.json")


@given(
    st.binary(max_size=40)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_rubbish_is_never_a_manifest(body: bytes) -> None:
    with pytest.raises(BackupError):
        Manifest.from_json(body, "here")


def test_a_fact_that_a_manifest_lacks_is_said_by_name() -> None:
    read = Manifest.from_json(manifest().to_json(), "here")
    with pytest.raises(BackupError, match=r"^here: the manifest lacks chain"):
        read.facts["chain"]


def test_no_flipped_bit_of_a_manifest_goes_unseen() -> None:
    body = manifest().to_json()
    for place in range(len(body) - 1):
        flipped = bytearray(body)
        flipped[place] ^= 1
        try:
            read = Manifest.from_json(bytes(flipped), "here")
        except BackupError:
            continue
        assert read == manifest(), flipped
