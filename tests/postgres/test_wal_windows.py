"""Which moments archived WAL covers; PostgreSQL's own recovery is the judge."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from three_backup.catalog.files import Files
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.sources.jobs import LogJob
from three_backup.sources.logged import Log
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.archive import Contents, Reached, WalArchive
from three_backup.sources.postgres.wal.names import Piece, lsn
from three_backup.sources.postgres.wal.windows import covered

from .filled import Archiving, recovered
from .taking import Taking, carrier_of_server, run

MB = 1 << 20
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
CARRIER = Carrier("postgres/cluster/7711")
_NUMBERS = count(1)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@pytest.fixture(params=[17, 18])
def server(
    request: pytest.FixtureRequest, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PostgresServer]:
    """A server with segments of a megabyte, to which `PG*` lead."""
    folder = server_folder / f"wal{next(_NUMBERS)}"
    settings = {"wal_keep_size": "1GB"}
    with PostgresServer(folder, request.param, settings, initdb=["--wal-segsize=1"]) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        run(server, "postgres", "CREATE TABLE moments (at timestamptz)")
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def archive(server: PostgresServer, seaweed: SeaweedServer, bucket: str) -> WalArchive:
    storage = Storage(
        Path("/nowhere"),
        seaweed.endpoint,
        bucket,
        "host",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
    )
    return WalArchive(Store(storage), carrier_of_server())


def commit(server: PostgresServer) -> datetime:
    """Commit a row; return a moment at which it is there, and before any later one."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO moments VALUES (clock_timestamp())")
        ((at,),) = connection.execute("SELECT clock_timestamp()::text")
    return datetime.fromisoformat(at)


def rows(server: PostgresServer) -> int:
    with psycopg.connect(server.conninfo()) as connection:
        ((found,),) = connection.execute("SELECT count(*) FROM moments")
    return int(found)


def log_of(archive: WalArchive, *snapshots: Files) -> Log | None:
    manifests = [snapshot.manifest for snapshot in snapshots]
    return PostgresSource().log(LogJob(archive.carrier, archive.store, manifests))


def test_an_empty_archive_is_none(archive: WalArchive, taking: Taking) -> None:
    assert log_of(archive, taking.take()) is None


def test_the_server_recovers_to_the_last_moment_of_a_window_and_none_is_lost(
    server: PostgresServer, archive: WalArchive, taking: Taking, parent: Path
) -> None:
    archiving = Archiving(server, archive)
    base = taking.take()
    before = [commit(server) for _ in range(3)]
    archiving.catch_up()
    later = commit(server)
    found = log_of(archive, base)
    assert found is not None
    (window,) = found.windows
    assert window.since <= before[0]
    assert before[-1] <= window.until < later
    assert found.reached == window.until
    assert (found.gaps, found.ended, window.opened_by) == ((), None, base.manifest.snapshot)
    with recovered([base], archive, parent / "a", server) as copy:
        assert rows(copy) == 3


def test_a_gap_lies_between_windows_and_the_server_does_not_recover_beyond_it(
    server: PostgresServer, archive: WalArchive, taking: Taking, parent: Path
) -> None:
    archiving = Archiving(server, archive)
    first = taking.take()
    time.sleep(1.1)  # S3 tells whole seconds of when a piece was stored
    commit(server)
    archiving.catch_up()
    lost = commit(server)
    archiving.catch_up(lose=True)
    commit(server)
    archiving.catch_up()
    broken = log_of(archive, first)
    assert broken is not None
    assert broken.ended is not None
    assert broken.ended < lost
    second = at_its_time(taking.take(), server)
    closing = commit(server)
    archiving.catch_up()
    found = log_of(archive, first, second)
    assert found is not None
    (gap,) = found.gaps
    assert gap.since < lost < gap.until <= closing
    assert (gap.opened_by, found.ended) == (second.manifest.snapshot, None)
    with recovered([first], archive, parent / "a", server) as copy:
        assert rows(copy) == 1
    with recovered([second], archive, parent / "b", server) as copy:
        assert rows(copy) == 4


def at_its_time(snapshot: Files, server: PostgresServer) -> Files:
    """Return the snapshot as if it had been taken when it was: `Taking` counts hours."""
    ended = datetime.fromisoformat(snapshot.manifest.facts["ended_at"])
    taken = SnapshotId(ended.replace(microsecond=0) - timedelta(seconds=1))
    snapshot._manifest = replace(snapshot.manifest, snapshot=taken)
    return snapshot


def test_a_window_goes_on_over_a_switch_and_ends_on_what_was_abandoned(
    server: PostgresServer, archive: WalArchive, taking: Taking, parent: Path
) -> None:
    archiving = Archiving(server, archive)
    base = taking.take()
    commit(server)
    archiving.catch_up()
    with recovered([base], archive, parent / "a", server) as successor:
        abandoned = commit(server)
        lost = taking.take(None)
        archiving.catch_up()
        after = [commit(successor) for _ in range(2)]
        switched = Archiving(successor, archive)
        switched.catch_up()
        found = log_of(archive, base, lost)
        assert found is not None
        assert found.troubles == ()
        (window,) = found.windows
        assert window.since < abandoned < after[-1] <= window.until
    with recovered([base], archive, parent / "b", server) as copy:
        assert rows(copy) == 3


def manifest(
    number: int, start: int, end: int, timeline: int = 1, since: float | None = None
) -> Manifest:
    """Return the manifest of a snapshot of the n-th minute."""
    facts = {
        "timeline": timeline,
        "start_lsn": lsn(start),
        "end_lsn": lsn(end),
        "wal_segment_size": 16 * MB,
    }
    ended = {} if since is None else {"ended_at": minutes(since).isoformat()}
    return Manifest(
        carrier=CARRIER,
        snapshot=SnapshotId(minutes(number)),
        objects=(),
        files=(),
        source_size=0,
        stored_size=0,
        facts={**facts, **ended},
        program="three_backup",
        server="PostgreSQL 17.9",
        host="here",
    )


def whole(first: int, last: int, timeline: int = 1) -> list[Piece]:
    """Return segments by their numbers; each was stored in the minute of its number."""
    return [
        Piece(timeline, n * 16 * MB, (n + 1) * 16 * MB, 100, minutes(n))
        for n in range(first, last + 1)
    ]


def reached(segment: int, at: float, timeline: int = 1) -> Reached:
    return Reached(timeline, segment * 16 * MB, minutes(at), 16 * MB)


def test_wal_that_begins_behind_a_snapshot_leads_on_from_the_next_one_only() -> None:
    early, late = manifest(1, 20 * MB, 21 * MB, since=2), manifest(5, 90 * MB, 91 * MB, since=6)
    found = covered(Contents(whole(3, 9), {}, reached(10, 12)), 1, [early, late])
    assert [(each.since, each.until) for each in found.windows] == [(minutes(6), minutes(12))]
    assert (found.reached, found.stored_size) == (minutes(12), 700)


def test_wal_that_begins_amid_the_segment_of_a_snapshots_end_does_not_lead_on() -> None:
    half = Piece(1, 24 * MB, 32 * MB, 1, minutes(2))
    found = covered(
        Contents([half, *whole(2, 4)], {}, None), 1, [manifest(1, 17 * MB, 25 * MB, since=1)]
    )
    assert found.windows == ()


def test_a_piece_that_repeats_and_exceeds_another_leaves_no_gap() -> None:
    part = Piece(1, 16 * MB, 20 * MB, 1, minutes(1))
    found = covered(
        Contents([part, *whole(1, 3)], {}, None), 1, [manifest(0, 17 * MB, 18 * MB, since=0.5)]
    )
    assert [each.until for each in found.windows] == [minutes(3)]


def test_what_nobody_noted_ends_when_the_next_snapshot_begins_behind_it() -> None:
    """Pieces that were stored late, on both sides of one that is lost, hide no gap."""
    late = [replace(piece, at=minutes(60)) for piece in (*whole(1, 4), *whole(6, 9))]
    first, second = (
        manifest(0, 17 * MB, 18 * MB, since=1),
        manifest(20, 98 * MB, 99 * MB, since=22),
    )
    found = covered(Contents(late, {}, reached(10, 61)), 1, [first, second])
    assert [(each.since, each.until) for each in found.windows] == [
        (minutes(1), minutes(20)),
        (minutes(22), minutes(61)),
    ]
    assert [each.opened_by for each in found.gaps] == [second.snapshot]


def test_what_was_noted_before_a_gap_says_nothing_of_what_lies_behind_it() -> None:
    first = manifest(0, 17 * MB, 18 * MB, since=1)
    found = covered(Contents([*whole(1, 4), *whole(6, 9)], {}, reached(5, 4.5)), 1, [first])
    assert [each.until for each in found.windows] == [minutes(4.5)]
    assert (found.reached, found.ended) == (minutes(9), minutes(4.5))


def test_a_note_of_what_is_no_longer_there_does_not_count() -> None:
    first = manifest(0, 17 * MB, 18 * MB, since=1)
    found = covered(Contents(whole(1, 4), {}, reached(9, 9)), 1, [first])
    assert [each.until for each in found.windows] == [minutes(4)]


def test_an_idle_server_reaches_now_without_a_new_piece() -> None:
    first = manifest(0, 17 * MB, 18 * MB, since=1)
    found = covered(Contents(whole(1, 1), {}, reached(2, 500)), 1, [first])
    assert [each.until for each in found.windows] == [minutes(500)]
    nothing = covered(Contents([], {}, reached(2, 500)), 1, [first])
    assert (nothing.windows, nothing.reached) == ((), minutes(500))


def test_snapshots_without_a_gap_between_them_share_a_window() -> None:
    first, second = manifest(0, 17 * MB, 18 * MB), manifest(2, 50 * MB, 51 * MB, since=3)
    found = covered(Contents(whole(1, 6), {}, reached(7, 8)), 1, [first, second])
    assert [(each.since, each.until) for each in found.windows] == [(minutes(0), minutes(8))]


def test_a_moment_on_an_abandoned_timeline_is_not_offered() -> None:
    """Timeline 2 left timeline 1 at 40 MB; what timeline 1 wrote behind it does not count."""
    histories = {2: b"1\t0/2800000\tno recovery target specified\n"}
    pieces = sorted([*whole(1, 9), *whole(2, 5, timeline=2)])
    before = manifest(0, 17 * MB, 18 * MB, since=1)
    on_the_first = manifest(5, 98 * MB, 99 * MB, since=6)
    on_the_second = manifest(4, 50 * MB, 51 * MB, timeline=2, since=4.5)
    contents = Contents(pieces, histories, None)
    found = covered(contents, 2, [before, on_the_first, on_the_second])
    assert [(each.since, each.until) for each in found.windows] == [(minutes(1), minutes(5))]
    assert covered(contents, 2, [on_the_first]).windows == ()


def test_the_first_segment_of_a_timeline_leads_on_without_the_one_that_it_repeats() -> None:
    histories = {2: b"1\t0/2800000\tno recovery target specified\n"}
    first = manifest(2, 41 * MB, 42 * MB, timeline=2, since=2.5)
    found = covered(Contents(whole(2, 5, timeline=2), histories, None), 2, [first])
    assert [each.until for each in found.windows] == [minutes(5)]


def test_a_timeline_without_its_history_leads_on_from_its_own_snapshots_and_is_told() -> None:
    before = manifest(0, 17 * MB, 18 * MB, since=1)
    after = manifest(4, 50 * MB, 51 * MB, timeline=2, since=4.5)
    pieces = sorted([*whole(1, 9), *whole(2, 5, timeline=2)])
    found = covered(Contents(pieces, {}, None), 2, [before, after])
    assert [each.opened_by for each in found.windows] == [after.snapshot]
    assert "00000002.history" in found.troubles[0]


def test_a_manifest_that_says_nothing_of_wal_opens_no_window() -> None:
    good = manifest(0, 17 * MB, 18 * MB, since=1)
    false: list[dict[str, Any]] = [
        {"start_lsn": "x"},
        {"end_lsn": 3},
        {"wal_segment_size": 0},
        {"ended_at": "soon"},
    ]
    bad = [replace(good, facts={**good.facts, **each}) for each in false]
    assert covered(Contents(whole(1, 6), {}, None), 1, bad).windows == ()
    assert len(covered(Contents(whole(1, 6), {}, None), 1, [*bad, good]).windows) == 1
