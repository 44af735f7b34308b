"""What an upload sends, and what is in the way of the rest."""

from datetime import UTC, datetime, timedelta

import pytest

from three_backup.model.kept import Kept
from three_backup.model.snapshots import SnapshotId, Stored
from three_backup.model.uploading import unsent

_FIRST = datetime(2026, 11, 1, 3, tzinfo=UTC)
NO_PARENT = "its parent is not in S3"
NO_POINT = "its parent is gone from its source"


def snapshot(number: int, parent: int | None = None, *, local: bool, s3: bool) -> Stored:
    taken = [None if one is None else _FIRST + timedelta(days=one) for one in (number, parent)]
    assert taken[0] is not None
    return Stored(SnapshotId(taken[0], taken[1]), local=local, s3=s3)


@pytest.mark.parametrize("kept", [Kept.FOLDERS, Kept.POINTS])
def test_a_chain_is_sent_oldest_first_and_what_s3_has_is_not_sent(kept: Kept) -> None:
    stored = snapshot(0, local=True, s3=True)
    first = snapshot(1, 0, local=True, s3=False)
    second = snapshot(2, 1, local=True, s3=False)
    elsewhere = snapshot(3, 2, local=False, s3=True)
    found = unsent([elsewhere, second, stored, first], kept)
    assert list(found.items()) == [(first.id, None), (second.id, None)]


@pytest.mark.parametrize(("kept", "obstacle"), [(Kept.FOLDERS, None), (Kept.POINTS, NO_POINT)])
def test_a_point_whose_parent_lies_in_s3_alone_cannot_be_sent(
    kept: Kept, obstacle: str | None
) -> None:
    """The source makes an increment of two points; files have it in them."""
    parent = snapshot(0, local=False, s3=True)
    child = snapshot(1, 0, local=True, s3=False)
    assert unsent([parent, child], kept) == {child.id: obstacle}


@pytest.mark.parametrize("kept", [Kept.FOLDERS, Kept.POINTS])
def test_what_builds_on_a_snapshot_that_cannot_be_sent_cannot_be_sent(kept: Kept) -> None:
    orphan = snapshot(1, 0, local=True, s3=False)
    child = snapshot(2, 1, local=True, s3=False)
    assert unsent([orphan, child], kept) == {orphan.id: NO_PARENT, child.id: NO_PARENT}


def test_what_is_surplus_is_left_out_with_what_builds_on_it_in_the_way() -> None:
    base = snapshot(0, local=True, s3=False)
    child = snapshot(1, 0, local=True, s3=False)
    assert unsent([base, child], Kept.FOLDERS, surplus={base.id}) == {child.id: NO_PARENT}
