"""Which snapshots cannot be restored, because a link of their chain is gone."""

from datetime import UTC, datetime, timedelta

import pytest

from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.snapshots import SnapshotId, Stored

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def taken(day: int, parent: int | None = None, *, local: bool = False) -> Stored:
    return Stored(
        SnapshotId(at(day), None if parent is None else at(parent)), local=local, s3=not local
    )


def at(day: int) -> datetime:
    return FIRST + timedelta(days=day)


def missing(*snapshots: Stored, kept: Kept = Kept.FOLDERS) -> dict[datetime, datetime]:
    return {lost.time: link for lost, link in missing_links(snapshots, kept).items()}


@pytest.mark.parametrize("local", [False, True])
def test_only_what_needs_the_missing_snapshot_is_broken(local: bool) -> None:
    early, late = taken(0), taken(8)
    lost, lost_too = taken(3, 2, local=local), taken(4, 3, local=local)
    chain = (early, taken(1, 0), lost, lost_too, taken(5, 1), late, taken(9, 8))
    assert missing(*chain) == {at(3): at(2), at(4): at(2)}


def test_a_point_is_whole_without_the_others_but_what_s3_has_of_it_is_not() -> None:
    assert missing(taken(1, 0, local=True), taken(2, 1), kept=Kept.POINTS) == {at(2): at(0)}


def test_a_whole_chain_misses_nothing() -> None:
    assert missing(taken(0, local=True), taken(1, 0), taken(2, 1)) == {}
    assert missing() == {}
