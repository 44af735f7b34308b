"""tb-wal pull: what it stores is what the server's own files hold."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError, BusyError, UnreachableError
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier
from three_backup.sources.postgres.wal.names import lsn
from three_backup.sources.postgres.wal.pull import gap_error

from .archiving import (
    MB,
    Archiving,
    CutOff,
    covered,
    differing,
    flushed,
    forget,
    standby_of,
    storage_in,
    switch,
    write,
)
from .taking import ask, run

_NUMBERS = count(1)


@pytest.fixture
def enter(monkeypatch: pytest.MonkeyPatch) -> Callable[[PostgresServer], None]:
    """Make `PG*` lead to a server."""

    def to(server: PostgresServer) -> None:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)

    return to


@pytest.fixture
def archiving(seaweed: SeaweedServer, bucket: str, tmp_path: Path) -> Archiving:
    return Archiving(storage_in(seaweed, bucket, tmp_path / "local"))


@pytest.fixture(params=[17, 18])
def own(
    request: pytest.FixtureRequest,
    server_folder: Path,
    enter: Callable[[PostgresServer], None],
) -> Iterator[PostgresServer]:
    """A server of each version in turn that only this test uses; `PG*` lead to it."""
    with PostgresServer(server_folder / f"own{next(_NUMBERS)}", request.param) as server:
        enter(server)
        yield server


def slots(server: PostgresServer) -> str:
    return ask(server, "postgres", "SELECT string_agg(slot_name, ' ') FROM pg_replication_slots")


def test_what_is_pulled_is_what_the_server_wrote(
    own: PostgresServer, archiving: Archiving
) -> None:
    first = archiving.pull()
    assert first.start % (16 * MB) == 0
    write(own, 40 * MB)
    then = flushed(own)
    second = archiving.pull()
    assert (second.start, second.gap) == (first.end, None)
    assert second.end >= then
    archive = archiving.archive()
    assert differing(archive, own.pgdata / "pg_wal", 1, 16 * MB) == []
    assert [(found.start, found.end) for found in covered(archive)] == [(first.start, second.end)]
    assert sum(piece.stored for piece in archive.pieces(1)) == (
        first.received.stored + second.received.stored
    )


@pytest.mark.parametrize("megabytes", [1, 64])
def test_segments_of_any_size_are_cut_where_pieces_end(
    megabytes: int,
    server_folder: Path,
    archiving: Archiving,
    enter: Callable[[PostgresServer], None],
) -> None:
    folder = server_folder / f"sized{next(_NUMBERS)}"
    settings = {"min_wal_size": f"{2 * megabytes}MB", "max_wal_size": "1GB"}
    with PostgresServer(folder, 18, settings, initdb=(f"--wal-segsize={megabytes}",)) as server:
        enter(server)
        archiving.pull()
        write(server, 3 * MB if megabytes == 1 else 70 * MB)
        archiving.pull()
        archive = archiving.archive()
        assert differing(archive, server.pgdata / "pg_wal", 1, megabytes * MB) == []
        assert len(covered(archive)) == 1
        reached = archive.reached()
        assert reached is not None
        assert reached.segment_size == megabytes * MB


def test_the_slot_keeps_what_is_not_stored_and_moves_on_with_the_archive(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    write(own, 20 * MB)
    forget(own)  # a server without the slot would remove all of it
    pulled = archiving.pull()
    assert pulled.gap is None
    assert pulled.received.bytes >= 20 * MB
    kept = ask(
        own, "postgres", f"SELECT '{lsn(pulled.end)}' - restart_lsn FROM pg_replication_slots"
    )
    assert 0 <= int(kept) <= 8192
    forget(own)
    assert archiving.pull().gap is None


def test_everything_committed_until_then_lies_before_what_was_reached(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    run(own, "postgres", "SET synchronous_commit = off", "CREATE TABLE t (i int)")
    before = datetime.now(UTC)
    archiving.pull()
    reached = archiving.archive().reached()
    assert reached is not None
    assert before - timedelta(seconds=1) < reached.at < datetime.now(UTC)
    assert archiving.pull().received.pieces <= 1
    later = archiving.archive().reached()
    assert later is not None
    assert later.at > reached.at


def test_an_idle_server_costs_no_piece_but_moves_the_moment_that_was_reached(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    archiving.pull()
    before, pieces = archiving.archive().reached(), archiving.archive().pieces()
    archiving.pull()
    after = archiving.archive().reached()
    assert before is not None
    assert after is not None
    assert archiving.archive().pieces() == pieces
    assert after.at > before.at


def test_a_slot_that_was_dropped_leaves_a_gap_if_the_server_removed_wal(
    own: PostgresServer, archiving: Archiving
) -> None:
    before = archiving.pull().end
    run(own, "postgres", f"SELECT pg_drop_replication_slot('{archiving.slot}')")
    write(own)
    forget(own)
    write(own)
    pulled = archiving.pull()
    assert pulled.gap is not None
    assert pulled.gap[0] == before
    error = gap_error(pulled)
    assert error is not None
    assert f"WAL from {lsn(before)} to {lsn(pulled.gap[1])} was removed" in error.message
    assert "was gone and is made anew" in archiving.said[0]
    assert [found.end for found in covered(archiving.archive())] == [before, pulled.end]
    assert differing(archiving.archive(), own.pgdata / "pg_wal", 1, 16 * MB) == []
    write(own)
    assert archiving.pull().gap is None


def test_a_slot_that_was_dropped_leaves_no_gap_if_the_server_still_has_everything(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    run(own, "postgres", f"SELECT pg_drop_replication_slot('{archiving.slot}')")
    write(own)
    assert archiving.pull().gap is None
    assert len(covered(archiving.archive())) == 1


def test_a_slot_that_lost_wal_is_made_anew_and_the_gap_is_told(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    run(own, "postgres", "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    run(own, "postgres", "ALTER SYSTEM SET max_wal_size = '32MB'", "SELECT pg_reload_conf()")
    write(own, 40 * MB)
    forget(own)
    status = "SELECT wal_status FROM pg_replication_slots"
    assert ask(own, "postgres", status) == "lost"
    pulled = archiving.pull()
    assert pulled.gap is not None
    assert "is lost (wal_removed) and is made anew" in archiving.said[0]
    assert ask(own, "postgres", status) == "reserved"
    assert archiving.pull().gap is None


def test_the_archive_follows_a_promotion(
    own: PostgresServer,
    server_folder: Path,
    archiving: Archiving,
    enter: Callable[[PostgresServer], None],
) -> None:
    with standby_of(own, server_folder / f"pulling-standby{next(_NUMBERS)}") as standby:
        archiving.pull()
        write(own)
        caught_up(own, standby)
        run(standby, "postgres", "SELECT pg_promote()")
        write(standby)
        enter(standby)
        pulled = archiving.pull()
        assert (pulled.timeline, pulled.gap) == (2, None)
        archive = archiving.archive()
        for timeline in (1, 2):
            assert differing(archive, standby.pgdata / "pg_wal", timeline, 16 * MB) == []
        name = standby.pgdata / "pg_wal" / "00000002.history"
        assert archive.history(2) == name.read_bytes()
        assert len(covered(archive, 2)) == 1
        assert archive.pieces(2)[0].start % (16 * MB) == 0
        write(standby)
        archiving.pull()
        assert len(covered(archive, 2)) == 1


def test_a_standby_is_pulled_from_and_goes_on_when_it_is_promoted(
    own: PostgresServer,
    server_folder: Path,
    archiving: Archiving,
    enter: Callable[[PostgresServer], None],
) -> None:
    with standby_of(own, server_folder / f"pulling-standby{next(_NUMBERS)}") as standby:
        enter(standby)
        archiving.pull()
        write(own)
        caught_up(own, standby)
        archiving.pull()
        archive = archiving.archive()
        assert differing(archive, own.pgdata / "pg_wal", 1, 16 * MB) == []
        enter(own)
        write(own)
        ahead = archiving.pull().end
        caught_up(own, standby)
        enter(standby)
        assert archiving.pull().end >= ahead
        run(standby, "postgres", "SELECT pg_promote()")
        write(standby)
        archiving.pull()
        assert len(covered(archive, 2)) == 1


def caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    until = lsn(flushed(primary))
    replayed = f"SELECT pg_last_wal_replay_lsn() >= '{until}'"
    for _ in range(600):
        if ask(standby, "postgres", replayed) == "True":
            return
        time.sleep(0.05)
    raise AssertionError("the standby does not follow")


def test_a_server_that_was_set_back_is_refused(
    own: PostgresServer,
    server_folder: Path,
    archiving: Archiving,
    enter: Callable[[PostgresServer], None],
) -> None:
    archiving.pull()
    own.stop()
    older = PostgresServer(server_folder / f"older{next(_NUMBERS)}", own.version)
    older.pgdata.parent.mkdir(exist_ok=True)
    shutil.copytree(own.pgdata, older.pgdata)
    own.start()
    write(own)
    archiving.pull()
    own.stop()
    shutil.rmtree(own.pgdata)
    shutil.copytree(older.pgdata, own.pgdata)
    own._account.own(own.pgdata)
    own.start()
    archive = archiving.archive()
    before = archive.pieces()
    with pytest.raises(BackupError, match=r"before the archive's end.*was set back"):
        archiving.pull()
    write(own, 8 * MB)
    with pytest.raises(BackupError, match="another than the archived one"):
        archiving.pull()
    assert archive.pieces() == before


def test_another_cluster_has_an_archive_of_its_own(
    own: PostgresServer,
    postgres17: PostgresServer,
    archiving: Archiving,
    enter: Callable[[PostgresServer], None],
) -> None:
    first = archiving.pull()
    enter(postgres17)
    try:
        second = archiving.pull()
    finally:
        run(postgres17, "postgres", f"SELECT pg_drop_replication_slot('{archiving.slot}')")
    assert second.carrier != first.carrier
    assert "another cluster than" in archiving.said[0]
    assert archiving.archive(first.carrier).pieces()
    assert archiving.archive(second.carrier).pieces()


def test_two_hosts_pull_from_slots_of_their_own(
    own: PostgresServer, archiving: Archiving, seaweed: SeaweedServer, bucket: str, tmp_path: Path
) -> None:
    other = Archiving(storage_in(seaweed, bucket, tmp_path / "other", "Host-2.example"))
    archiving.pull()
    other.pull()
    assert sorted(slots(own).split()) == sorted((archiving.slot, other.slot))
    assert other.slot.startswith("three_backup_host_2_example_")


def test_a_pull_at_work_keeps_another_one_away(own: PostgresServer, archiving: Archiving) -> None:
    identifier = archiving.pull().carrier.rpartition("/")[2]
    lock = Carrier(f"postgres/wal/{identifier}")
    with carrier_lock(archiving.storage.local_dir, lock), pytest.raises(BusyError):
        archiving.pull()
    archiving.pull()


def test_without_a_slot_left_the_remedy_is_told(
    server_folder: Path, archiving: Archiving, enter: Callable[[PostgresServer], None]
) -> None:
    folder = server_folder / f"poor{next(_NUMBERS)}"
    with PostgresServer(folder, 17, {"max_replication_slots": "0"}) as server:
        enter(server)
        with pytest.raises(BackupError, match="raise max_replication_slots"):
            archiving.pull()


def test_the_slot_keeps_everything_while_s3_is_away(
    own: PostgresServer, archiving: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = archiving.pull().end
    write(own, 20 * MB)
    away = Archiving(
        replace(archiving.storage, endpoint="http://127.0.0.1:9", timeout=timedelta(0))
    )
    with pytest.raises(UnreachableError):
        away.pull()
    forget(own)
    pulled = archiving.pull()
    assert (pulled.start, pulled.gap) == (before, None)


def test_a_pull_that_is_cut_short_at_any_request_is_healed_by_the_next(
    own: PostgresServer, archiving: Archiving
) -> None:
    """From each request in turn on, S3 answers nothing; every second one is still carried out."""
    start = archiving.pull().start
    for number in range(1, 40):
        write(own, MB // 2)
        switch(own)
        write(own, MB // 2)
        cut_off = CutOff(number, bool(number % 2))
        with proxy(archiving.storage.endpoint or "", cut_off) as endpoint:
            cut = replace(archiving.storage, endpoint=endpoint, timeout=timedelta(0))
            try:
                Archiving(cut).pull()
            except BackupError:
                pass
            else:
                break
        forget(own)  # what a wrong slot would no longer keep is gone
    else:
        raise AssertionError("no pull ended well")
    assert number > 5
    pulled = archiving.pull()
    assert pulled.gap is None
    archive = archiving.archive()
    assert [(found.start, found.end) for found in covered(archive)] == [(start, pulled.end)]
    assert differing(archive, own.pgdata / "pg_wal", 1, 16 * MB) == []


@pytest.mark.parametrize("own", [17], indirect=True)
def test_uploads_that_keep_it_waiting_do_not_cost_the_connection(
    own: PostgresServer, archiving: Archiving
) -> None:
    archiving.pull()
    run(own, "postgres", "ALTER SYSTEM SET wal_sender_timeout = '6s'", "SELECT pg_reload_conf()")
    write(own, 50 * MB)

    def slow(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT") and "/00000001/" in request.path:
            time.sleep(8)  # longer than the server waits for a word
        return forward()

    with proxy(archiving.storage.endpoint or "", slow) as endpoint:
        pulled = Archiving(replace(archiving.storage, endpoint=endpoint)).pull()
    assert pulled.received.pieces > 3
