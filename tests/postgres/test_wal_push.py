"""tb-wal push: what the server hands over is stored and checked before it is answered."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from three_backup.catalog.catalog import Catalog
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.host.handed import Notes
from three_backup.model.encryption import Demand, EncryptionKeys, NoKeyError
from three_backup.model.signing import Keyring
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.names import Piece, Segment
from three_backup.sources.postgres.wal.origin import cluster_at
from three_backup.sources.postgres.wal.push import push

from .archiving import (
    MB,
    Archiving,
    CutOff,
    Relay,
    covered,
    differing,
    standby_of,
    storage_in,
    switch,
    until,
    write,
)
from .taking import ask, run

_NUMBERS = count(1)
# Nothing is archived, so that segments stay ready and tests hand them over themselves.
_HELD = {"archive_mode": "on", "archive_command": "false"}


@pytest.fixture
def archiving(seaweed: SeaweedServer, bucket: str, tmp_path: Path) -> Archiving:
    return Archiving(storage_in(seaweed, bucket, tmp_path / "local"))


@pytest.fixture(params=[16, 1, 64])
def own(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server with segments of each size in turn, of which none is archived."""
    folder, size = server_folder / f"pushing{next(_NUMBERS)}", request.param
    settings = {**_HELD, "min_wal_size": f"{2 * size}MB"}
    with PostgresServer(folder, 17, settings, initdb=(f"--wal-segsize={size}",)) as server:
        yield server


of_16_mb = pytest.mark.parametrize("own", [16], indirect=True)


def ready(server: PostgresServer) -> list[Path]:
    """Return the segments that the server wants to be archived."""
    pg_wal = server.pgdata / "pg_wal"
    return sorted(
        pg_wal / status.stem
        for status in (pg_wal / "archive_status").glob("*.ready")
        if len(status.stem) == 24
    )


def fill(server: PostgresServer, segments: int) -> list[Path]:
    """Have the server fill so many segments."""
    for _ in range(segments):
        write(server, MB // 2)
        switch(server)
    return ready(server)


def notes_of(archiving: Archiving) -> Notes:
    return Notes(archiving.storage.local_dir, None)


def hand_over(archiving: Archiving, path: Path) -> None:
    push(Catalog(archiving.storage), path, notes_of(archiving), 1, archiving.said.append)


def archive_of(archiving: Archiving, server: PostgresServer) -> WalArchive:
    carrier = cluster_at(server.pgdata)
    assert carrier is not None
    return archiving.archive(carrier)


def whole(archive: WalArchive, path: Path, size: int) -> bool:
    """Tell whether the pieces of a segment are the file."""
    segment = Segment.parse(path.name, size)
    assert segment is not None
    pieces = archive.pieces(segment.timeline, segment.start, segment.start + size)
    within = [piece for piece in pieces if segment.start <= piece.start < segment.start + size]
    return b"".join(map(archive.read, within)) == path.read_bytes()


def requests_of(archiving: Archiving, path: Path) -> int:
    catalog = Catalog(archiving.storage)
    push(catalog, path, notes_of(archiving), 1, archiving.said.append)
    return catalog.bucket.requests


def test_one_call_stores_all_that_waits_and_the_later_ones_ask_for_nothing(
    own: PostgresServer, archiving: Archiving
) -> None:
    waiting = fill(own, 5)
    hand_over(archiving, waiting[0])
    archive = archive_of(archiving, own)
    size = waiting[0].stat().st_size
    assert [path for path in waiting if not whole(archive, path, size)] == []
    assert differing(archive, own.pgdata / "pg_wal", 1, size) == []
    assert [requests_of(archiving, path) for path in waiting[1:]] == [0] * (len(waiting) - 1)
    reached = archive.reached()
    last = Segment.parse(waiting[-1].name, size)
    assert reached is not None
    assert last is not None
    assert (reached.lsn, reached.segment_size) == (last.start + size, size)
    assert reached.at == datetime.fromtimestamp(waiting[-1].stat().st_mtime, UTC)


@of_16_mb
def test_a_server_archives_by_the_program_itself(
    own: PostgresServer, archiving: Archiving, server_folder: Path
) -> None:
    fill(own, 3)
    with Relay(server_folder / f"relay{next(_NUMBERS)}", archiving.storage) as relay:
        run(own, "postgres", f"ALTER SYSTEM SET archive_command = '{relay.command} push %p'")
        run(own, "postgres", "SELECT pg_reload_conf()")
        write(own)
        switch(own)
        until(lambda: not ready(own))
    assert {status for _, status in relay.calls} == {0}, relay.said
    archive = archive_of(archiving, own)
    assert differing(archive, own.pgdata / "pg_wal", 1, 16 * MB) == []
    assert [found.start for found in covered(archive)] == [16 * MB]


@of_16_mb
def test_what_is_there_already_is_compared(own: PostgresServer, archiving: Archiving) -> None:
    first, *_ = fill(own, 2)
    hand_over(archiving, first)
    shutil.rmtree(archiving.storage.local_dir)  # and with it all notes
    hand_over(archiving, first)
    archive = archive_of(archiving, own)
    (piece, *_) = archive.pieces(1)
    changed = bytearray(archive.read(piece))
    changed[-1] ^= 1
    archive.put(piece, bytes(changed))
    shutil.rmtree(archiving.storage.local_dir)
    with pytest.raises(BackupError, match=f"{first.name}: the archive has another content"):
        hand_over(archiving, first)
    assert archive.read(piece) == changed


@of_16_mb
@pytest.mark.parametrize(
    "given",
    [
        {"manifest_key": Keyring.parse("5a" * 32)},
        {"encryption_key": EncryptionKeys.parse("5a" * 32), "encryption": Demand.REQUIRED},
        {
            "manifest_key": Keyring.parse("5a" * 32),
            "encryption_key": EncryptionKeys.parse("5a" * 32),
        },
    ],
    ids=["signed", "encrypted", "both"],
)
def test_what_is_signed_or_encrypted_is_stored_and_compared_as_well(
    own: PostgresServer, archiving: Archiving, given: Mapping[str, Any]
) -> None:
    plain = archiving.storage
    archiving.storage = replace(plain, **given)
    first, *_ = waiting = fill(own, 2)
    for _ in range(2):
        hand_over(archiving, first)
        shutil.rmtree(archiving.storage.local_dir)  # and with it all notes
    archive = archive_of(archiving, own)
    assert [path for path in waiting if not whole(archive, path, 16 * MB)] == []
    stored = archive.store.read(archive.key_of(archive.pieces(1)[0]))
    is_encrypted = "encryption_key" in given
    assert stored.startswith(b"TBE" if is_encrypted else b"\x28\xb5\x2f\xfd")
    archiving.storage = plain
    if is_encrypted:
        with pytest.raises(NoKeyError, match="it is encrypted with key"):
            whole(archive_of(archiving, own), first, 16 * MB)


@of_16_mb
def test_pieces_of_wal_count_in_their_own_place_and_plain_ones_not_where_they_may_not(
    own: PostgresServer, archiving: Archiving
) -> None:
    plain = archiving.storage
    keys = EncryptionKeys.parse("5a" * 32)
    archiving.storage = replace(plain, encryption_key=keys, encryption=Demand.REQUIRED)
    first, *_ = fill(own, 2)
    hand_over(archiving, first)
    archive = archive_of(archiving, own)
    one, other = archive.pieces(1)[:2]
    archive.store.write(archive.key_of(one), archive.store.read(archive.key_of(other)))
    with pytest.raises(BackupError, match="it cannot be decrypted"):
        archive.read(one)
    archiving.storage = plain
    archive_of(archiving, own).put(one, bytes(one.size))
    with pytest.raises(BackupError, match="is not encrypted, and encryption is required"):
        archive.read(one)


@of_16_mb
def test_what_was_pulled_in_part_is_completed(own: PostgresServer, archiving: Archiving) -> None:
    first, *_ = fill(own, 1)
    archive, content = archive_of(archiving, own), first.read_bytes()
    segment = Segment.parse(first.name, 16 * MB)
    assert segment is not None
    archive.put(Piece(1, segment.start, segment.start + 5000), content[:5000])
    hand_over(archiving, first)
    archive.put(Piece(1, segment.start, segment.start + 5000), b"x" * 5000)
    shutil.rmtree(archiving.storage.local_dir)
    with pytest.raises(BackupError, match="another content"):
        hand_over(archiving, first)


@of_16_mb
def test_a_damaged_segment_keeps_none_before_it_from_s3(
    own: PostgresServer, archiving: Archiving
) -> None:
    first, second, third, *_ = fill(own, 4)
    os.truncate(second, 1 * MB)
    third.unlink()
    third.mkdir()
    hand_over(archiving, first)
    assert whole(archive_of(archiving, own), first, 16 * MB)
    reached = archive_of(archiving, own).reached()
    segment = Segment.parse(second.name, 16 * MB)
    assert reached is not None
    assert segment is not None
    assert reached.lsn == segment.start
    with pytest.raises(BackupError, match="too short for a segment"):
        hand_over(archiving, second)
    third.rmdir()


@of_16_mb
def test_a_note_holds_for_the_very_file_only(own: PostgresServer, archiving: Archiving) -> None:
    first, second, *_ = fill(own, 3)
    hand_over(archiving, first)
    assert requests_of(archiving, second) == 0
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    with pytest.raises(BackupError, match="another content"):
        hand_over(archiving, second)


@of_16_mb
def test_a_segment_of_another_cluster_is_refused(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    first, *_ = fill(own, 1)
    foreign = tmp_path / "pg_wal" / first.name
    foreign.parent.mkdir()
    shutil.copy(first, foreign)
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(bytes(range(8)))
    with pytest.raises(BackupError, match=r"this is WAL of postgres/cluster/.*, not of"):
        hand_over(archiving, foreign)
    renamed = first.with_name(f"{first.name[:-1]}F")
    shutil.copy(first, renamed)
    with pytest.raises(BackupError, match="name is not that of the segment"):
        hand_over(archiving, renamed)
    renamed.write_bytes(b"nothing")
    with pytest.raises(BackupError, match="no segment of WAL"):
        hand_over(archiving, renamed)


@of_16_mb
def test_a_store_that_lists_something_else_is_not_believed(
    own: PostgresServer, archiving: Archiving
) -> None:
    first, *_ = fill(own, 1)

    def forgets(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT") and ".zst" in request.path:
            return Answer(200, {"ETag": '"x"'}, b"")
        return forward()

    with proxy(archiving.storage.endpoint or "", forgets) as endpoint:
        lying = Archiving(replace(archiving.storage, endpoint=endpoint))
        with pytest.raises(BackupError, match="does not list"):
            hand_over(lying, first)
    hand_over(archiving, first)
    assert whole(archive_of(archiving, own), first, 16 * MB)


@of_16_mb
def test_a_disk_without_room_for_notes_costs_only_looks(
    own: PostgresServer, archiving: Archiving
) -> None:
    waiting = fill(own, 3)
    hand_over(archiving, waiting[0])
    local = archiving.storage.local_dir
    shutil.rmtree(local / "wal")
    (local / "wal").write_text("no folder can be made here")
    for path in waiting:
        hand_over(archiving, path)
    assert requests_of(archiving, waiting[1]) > 0


@of_16_mb
def test_a_push_that_is_cut_short_at_any_request_is_healed_by_the_next(
    own: PostgresServer, archiving: Archiving
) -> None:
    handed: list[Path] = []
    for number in range(1, 60):
        waiting = fill(own, 2)
        cut_off = CutOff(number, bool(number % 2))
        with proxy(archiving.storage.endpoint or "", cut_off) as endpoint:
            storage = replace(archiving.storage, endpoint=endpoint, timeout=timedelta(0))
            with suppress(BackupError):
                hand_over(Archiving(storage), waiting[0])
                assert whole(archive_of(archiving, own), waiting[0], 16 * MB)
        if cut_off.seen < number:
            break
        for path in waiting:  # else each call would send more than the one before
            handed.append(path)
            (path.parent / "archive_status" / f"{path.name}.ready").unlink()
    else:
        raise AssertionError("no push ended well")
    assert number > 6
    for path in handed:
        hand_over(archiving, path)
    archive = archive_of(archiving, own)
    assert differing(archive, own.pgdata / "pg_wal", 1, 16 * MB) == []
    assert len(covered(archive)) == 1


@of_16_mb
def test_what_a_promotion_hands_over_is_stored(
    own: PostgresServer, archiving: Archiving, server_folder: Path
) -> None:
    with standby_of(own, server_folder / f"pushing-standby{next(_NUMBERS)}") as standby:
        write(own)
        switch(own)
        write(own, MB)
        lsn = ask(own, "postgres", "SELECT pg_current_wal_flush_lsn()")
        reached = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"
        until(lambda: ask(standby, "postgres", reached) == "True")
        for path in ready(own):
            hand_over(archiving, path)
        run(standby, "postgres", "SELECT pg_promote()")
        write(standby)
        switch(standby)
        pg_wal = standby.pgdata / "pg_wal"
        names = sorted(status.stem for status in (pg_wal / "archive_status").glob("*.ready"))
        assert any(name.endswith(".partial") for name in names)
        for name in sorted(names, key=lambda name: not name.endswith(".history")):
            hand_over(archiving, pg_wal / name)
        archive = archive_of(archiving, own)
        assert archive.history(2) == (pg_wal / "00000002.history").read_bytes()
        assert len(covered(archive, 2)) == 1
        assert differing(archive, pg_wal, 2, 16 * MB) == []
        assert archiving.said == []
        (pg_wal / "00000002.history").write_text("1\t0/1000000\tanother\n")
        with pytest.raises(BackupError, match="another timeline 2"):
            hand_over(archiving, pg_wal / "00000002.history")
        os.mkfifo(pg_wal / "000000010000000000000002.00000028.backup")  # it is not even opened
        hand_over(archiving, pg_wal / "000000010000000000000002.00000028.backup")
