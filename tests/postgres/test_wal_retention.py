"""Retention of WAL: never what a kept snapshot needs; PostgreSQL recovers from what is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import ManifestError
from three_backup.sources.jobs import LogJob
from three_backup.sources.logged import LogVerdict
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.archive import Contents, WalArchive
from three_backup.sources.postgres.wal.names import Piece, lsn
from three_backup.sources.postgres.wal.retention import expendable_histories, expendable_pieces
from three_backup.sources.postgres.wal.span import Span
from three_backup.sources.postgres.wal.timelines import way_to

from .filled import Archiving, recovered
from .taking import Taking
from .test_wal_windows import MB, archive, commit, manifest, rows, server, whole

__all__ = ["archive", "server"]  # fixtures
SEGMENT = 16 * MB
SWITCH = b"1\t0/2800000\tno recovery target specified\n"
"""The history of a timeline 2 that left timeline 1 at 40 MB."""


def span(start: int, end: int, timeline: int = 1) -> Span:
    return Span.of(manifest(1, start, end, timeline))


def verdicts(archive: WalArchive, *kept: Files) -> Sequence[LogVerdict]:
    manifests = [snapshot.manifest for snapshot in kept]
    return PostgresSource().expendable_log(LogJob(archive.carrier, archive.store, manifests))


def test_the_server_recovers_from_the_oldest_kept_base_after_all_else_went(
    server: PostgresServer, archive: WalArchive, taking: Taking, parent: Path
) -> None:
    archiving = Archiving(server, archive)
    first = taking.take()
    for _ in range(3):
        commit(server)
        archiving.catch_up()
    second = taking.take()
    for _ in range(3):
        commit(server)
        archiving.catch_up()
    assert verdicts(archive, first, second) == verdicts(archive, first)
    (verdict,) = verdicts(archive, second)
    assert str(second.manifest.snapshot) in verdict.reason
    before = archive.contents().pieces
    archive.store.delete(verdict.keys)
    left = archive.contents().pieces
    assert len(verdict.keys) == len(before) - len(left) > 0
    assert verdict.stored_size == sum(piece.stored for piece in set(before) - set(left))
    assert verdicts(archive, second) == []
    with recovered([second], archive, parent / "a", server) as copy:
        assert rows(copy) == 6
    # The judge can condemn: without the oldest piece behind the end of the snapshot he stops.
    end = Span.of(second.manifest).end
    archive.delete([next(piece for piece in left if piece.start >= end)])
    with recovered([second], archive, parent / "b", server) as copy:
        assert rows(copy) < 6


def test_nothing_is_expendable_without_a_kept_snapshot(archive: WalArchive) -> None:
    archive.put(Piece(1, 0, 4), b"0123")
    assert list(verdicts(archive)) == []


def test_a_manifest_that_says_nothing_of_wal_makes_nothing_expendable(archive: WalArchive) -> None:
    archive.put(Piece(1, 0, 4), b"0123")
    job = LogJob(archive.carrier, archive.store, [manifest(1, 90 * MB, 91 * MB)])
    assert len(PostgresSource().expendable_log(job)) == 1
    job.manifests[0].facts["start_lsn"] = None  # type: ignore[index]
    with pytest.raises(ManifestError, match="does not say which WAL"):
        PostgresSource().expendable_log(job)


def test_the_segment_in_which_the_oldest_base_starts_stays() -> None:
    contents = Contents(whole(1, 9), {}, None)
    kept = [span(100 * MB, 101 * MB), span(90 * MB, 91 * MB)]
    assert expendable_pieces(contents, kept) == whole(1, 4)
    assert expendable_pieces(contents, [span(80 * MB, 80 * MB)]) == whole(1, 4)


def test_an_abandoned_timeline_goes_as_its_positions_go_and_its_history_last() -> None:
    """Timelines 2 and 3 both left timeline 1; the server is on 3."""
    histories = {2: SWITCH, 3: b"1\t0/1800000\tno recovery target specified\n"}
    pieces = sorted([*whole(1, 2), *whole(2, 5, timeline=2), *whole(1, 9, timeline=3)])
    contents = Contents(pieces, histories, None)
    early = [span(70 * MB, 71 * MB, timeline=3)]
    gone = expendable_pieces(contents, early)
    assert {piece.key for piece in gone if piece.timeline == 2} == {
        piece.key for piece in whole(2, 3, timeline=2)
    }
    assert expendable_histories(contents, early, gone) == []
    late = [span(120 * MB, 121 * MB, timeline=3)]
    gone = expendable_pieces(contents, late)
    assert [piece for piece in gone if piece.timeline == 2] == whole(2, 5, timeline=2)
    assert expendable_histories(contents, late, gone) == [2]


def test_a_history_that_is_missing_keeps_the_others() -> None:
    contents = Contents(whole(3, 9, timeline=4), {2: SWITCH}, None)
    assert expendable_histories(contents, [span(49 * MB, 50 * MB, timeline=4)], []) == []


@dataclass(frozen=True)
class Cluster:
    """A cluster with failovers and restores, and the snapshots that are kept of it."""

    contents: Contents
    kept: Sequence[Span]


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Draw timelines, each of which leaves an older one somewhere, and snapshots on them."""
    histories: dict[int, bytes] = {}
    begins = {1: 0}
    for timeline in range(2, draw(st.integers(1, 4)) + 1):
        parent = draw(st.integers(1, timeline - 1))
        begin = draw(st.integers(begins[parent] + 1, begins[parent] + 6 * SEGMENT))
        begins[timeline] = begin
        line = f"{parent}\t{lsn(begin)}\tno recovery target specified\n".encode()
        histories[timeline] = histories.get(parent, b"") + line
    pieces: list[Piece] = []
    for timeline, begin in begins.items():
        first = begin // SEGMENT
        pieces += whole(first, first + draw(st.integers(0, 12)), timeline)
        if draw(st.booleans()):  # the partial piece of a pull that was cut short
            last = pieces.pop()
            pieces += [Piece(timeline, last.start, last.start + MB), last]
    kept = []
    for _ in range(draw(st.integers(1, 3))):
        timeline = draw(st.sampled_from(sorted(begins)))
        start = begins[timeline] + SEGMENT * draw(st.integers(0, 12)) + draw(st.integers(0, 99))
        kept.append(span(start, start + draw(st.integers(0, 2 * SEGMENT)), timeline))
    return Cluster(Contents(sorted(pieces), histories, None), kept)


def needed(cluster: Cluster) -> set[Piece]:
    """Return what a recovery from a kept snapshot may ask for, segment by segment.

    Computed otherwise than by retention: on every timeline that the server may follow from the
    snapshot, every segment from the one of its start on.
    """
    found = set()
    histories = cluster.contents.histories
    for timeline in {1, *histories}:
        way = way_to(timeline, histories)
        for kept in cluster.kept:
            if not way.passes(kept.timeline, kept.start):
                continue
            passed = {leg.timeline for leg in way.from_(kept.start)}
            for piece in cluster.contents.pieces:
                segment = piece.start // SEGMENT
                if piece.timeline in passed and segment >= kept.start // SEGMENT:
                    found.add(piece)
    return found


@given(clusters())
def test_nothing_that_a_kept_snapshot_needs_is_ever_expendable(cluster: Cluster) -> None:
    gone = expendable_pieces(cluster.contents, cluster.kept)
    assert not set(gone) & needed(cluster)
    histories = expendable_histories(cluster.contents, cluster.kept, gone)
    left = [piece for piece in cluster.contents.pieces if piece not in set(gone)]
    after = {
        timeline: history
        for timeline, history in cluster.contents.histories.items()
        if timeline not in histories
    }
    used = {piece.timeline for piece in left} | {kept.timeline for kept in cluster.kept}
    for timeline in used | {max((1, *cluster.contents.histories))}:
        assert way_to(timeline, after) == way_to(timeline, cluster.contents.histories)


@given(clusters(), st.data())
def test_a_kill_between_two_deletions_changes_nothing_of_what_goes(
    cluster: Cluster, data: st.DataObject
) -> None:
    gone = expendable_pieces(cluster.contents, cluster.kept)
    assert [piece.start for piece in gone] == sorted(piece.start for piece in gone)
    done = set(gone[: data.draw(st.integers(0, len(gone)))])
    rest = [piece for piece in cluster.contents.pieces if piece not in done]
    then = Contents(rest, cluster.contents.histories, None)
    assert expendable_pieces(then, cluster.kept) == [piece for piece in gone if piece not in done]
