"""tb-wal fetch: PostgreSQL recovers from what it hands back, and never ends early in silence."""

import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.lab.fault_proxy import proxy
from three_backup.catalog.catalog import Catalog
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.sources.postgres.wal.archive import WalArchive
from three_backup.sources.postgres.wal.fetch import fetch
from three_backup.sources.postgres.wal.names import Segment

from .archiving import (
    MB,
    Archiving,
    CutOff,
    Relay,
    copied,
    flushed,
    standby_of,
    storage_in,
    switch,
    until,
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


@pytest.fixture(params=[16])
def own(
    request: pytest.FixtureRequest,
    server_folder: Path,
    enter: Callable[[PostgresServer], None],
) -> Iterator[PostgresServer]:
    """A server that only this test uses; `PG*` lead to it."""
    folder, size = server_folder / f"fetching{next(_NUMBERS)}", request.param
    settings = {"min_wal_size": f"{2 * size}MB", "wal_keep_size": "1GB"}
    with PostgresServer(folder, 17, settings, initdb=(f"--wal-segsize={size}",)) as server:
        enter(server)
        yield server


@pytest.fixture
def relay(server_folder: Path, archiving: Archiving) -> Iterator[Relay]:
    with Relay(server_folder / f"relay{next(_NUMBERS)}", archiving.storage) as relay:
        yield relay


sizes = pytest.mark.parametrize("own", [1, 16, 64], indirect=True)


def segments(server: PostgresServer, timeline: int = 1) -> list[str]:
    """Return the names of the server's whole segments."""
    size = int(
        ask(server, "postgres", "SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")
    )
    end = flushed(server)
    names = sorted(path.name for path in (server.pgdata / "pg_wal").iterdir())
    found = [(name, Segment.parse(name, size)) for name in names]
    return [
        name
        for name, segment in found
        if segment and segment.timeline == timeline and segment.start + size <= end
    ]


def fetched(archiving: Archiving, name: str, path: Path) -> bool:
    return fetch(Catalog(archiving.storage), name, path)


def recovering(
    server: PostgresServer, folder: Path, relay: Relay, settings: dict[str, str] | None = None
) -> PostgresServer:
    """Return a copy of the server as it is now, which will recover from the archive."""
    command = {"restore_command": f"{relay.command} fetch %f %p", **(settings or {})}
    copy = copied(server, folder, settings=command)
    (copy.pgdata / "recovery.signal").touch()
    copy._account.own(copy.pgdata)
    return copy


@sizes
def test_what_is_fetched_is_what_the_server_wrote(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    for _ in range(3):
        write(own, MB)
        switch(own)
    archiving.pull()
    names = segments(own)[-3:]
    for name in names:
        assert fetched(archiving, name, tmp_path / "RECOVERYXLOG")
        expected = own.pgdata / "pg_wal" / name
        assert (tmp_path / "RECOVERYXLOG").read_bytes() == expected.read_bytes()


def test_what_is_damaged_or_gone_comes_from_a_further_store(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    for _ in range(3):
        write(own, MB)
        switch(own)
    archiving.pull()
    first = Catalog(archiving.storage).bucket
    copies = replace(archiving.storage, prefix="copies", store="vault")
    for key in list(first.all_names("wal/")):
        Catalog(copies).bucket.write(key, first.read(key))
    *_, damaged, gone = segments(own)
    pieces = {piece: Segment.parse(gone, 16 * MB) for piece in archiving.archive().pieces()}
    archive = archiving.archive()
    for piece, segment in pieces.items():
        assert segment is not None
        if piece.start >= segment.start:
            archive.delete([piece])
        elif piece.end == segment.start:
            first.write(archive.key_of(piece), first.read(archive.key_of(piece))[:-9])
    first.delete(key for key in list(first.all_names("wal/")) if key.endswith("reached.json"))
    said: list[str] = []
    for name in (damaged, gone):
        catalog = Catalog(archiving.storage, said.append, [Catalog(copies)])
        assert fetch(catalog, name, tmp_path / "RECOVERYXLOG")
        expected = (own.pgdata / "pg_wal" / name).read_bytes()
        assert (tmp_path / "RECOVERYXLOG").read_bytes() == expected
    assert all("what is wanted of it comes from store vault" in line for line in said)
    assert len(said) == 2
    alone = Catalog(archiving.storage)
    assert not fetch(alone, gone, tmp_path / "RECOVERYXLOG")


def test_a_partial_segment_is_filled_up_with_zeros(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    write(own, MB)
    end = archiving.pull().end
    name = Segment(1, end // (16 * MB) * 16 * MB).name(16 * MB)
    assert fetched(archiving, name, tmp_path / "RECOVERYXLOG")
    given, live = (tmp_path / "RECOVERYXLOG").read_bytes(), own.pgdata / "pg_wal" / name
    assert given[: end % (16 * MB)] == live.read_bytes()[: end % (16 * MB)]
    assert given[end % (16 * MB) :] == bytes(16 * MB - end % (16 * MB))
    after = Segment(1, (end // (16 * MB) + 1) * 16 * MB).name(16 * MB)
    assert not fetched(archiving, after, tmp_path / "RECOVERYXLOG")


def test_postgresql_recovers_all_that_was_pulled(
    own: PostgresServer, archiving: Archiving, relay: Relay, server_folder: Path
) -> None:
    run(own, "postgres", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i")
    archiving.pull()
    copy = recovering(own, server_folder / f"recovered{next(_NUMBERS)}", relay)
    for _ in range(4):
        write(own, MB)
        run(own, "postgres", "INSERT INTO t SELECT max(i) + 1 FROM t")
        switch(own)
    run(own, "postgres", "INSERT INTO t SELECT max(i) + 1 FROM t")
    archiving.pull()
    with copy:
        until(lambda: ask(copy, "postgres", "SELECT NOT pg_is_in_recovery()") == "True")
        assert ask(copy, "postgres", "SELECT max(i) FROM t") == "1005"
        assert ask(copy, "postgres", "SELECT timeline_id FROM pg_control_checkpoint()") == "2"
    assert {status for _, status in relay.calls} == {0, 1}, relay.said


def test_postgresql_recovers_over_a_promotion(
    own: PostgresServer,
    archiving: Archiving,
    relay: Relay,
    server_folder: Path,
    enter: Callable[[PostgresServer], None],
) -> None:
    run(own, "postgres", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i")
    archiving.pull()
    copy = recovering(own, server_folder / f"recovered{next(_NUMBERS)}", relay)
    with standby_of(own, server_folder / f"fetching-standby{next(_NUMBERS)}") as standby:
        run(own, "postgres", "INSERT INTO t VALUES (1001)")
        until(lambda: ask(standby, "postgres", "SELECT max(i) FROM t") == "1001")
        archiving.pull()
        run(standby, "postgres", "SELECT pg_promote()")
        run(standby, "postgres", "INSERT INTO t VALUES (1002)")
        enter(standby)
        assert archiving.pull().gap is None
        with copy:
            until(lambda: ask(copy, "postgres", "SELECT NOT pg_is_in_recovery()") == "True")
            assert ask(copy, "postgres", "SELECT max(i) FROM t") == "1002"
            assert ask(copy, "postgres", "SELECT timeline_id FROM pg_control_checkpoint()") == "3"


def test_a_standby_lives_on_the_archive(
    own: PostgresServer, archiving: Archiving, relay: Relay, server_folder: Path
) -> None:
    run(own, "postgres", "CREATE TABLE t (i int)")
    archiving.pull()
    copy = recovering(own, server_folder / f"recovered{next(_NUMBERS)}", relay)
    (copy.pgdata / "recovery.signal").rename(copy.pgdata / "standby.signal")
    archiving.pull()
    with copy:
        for number in range(3):
            run(own, "postgres", f"INSERT INTO t VALUES ({number})")
            archiving.pull()
            until(lambda: ask(copy, "postgres", "SELECT max(i) FROM t") == str(number))  # noqa: B023


@pytest.mark.parametrize("how", ["away", "damaged", "missing"])
def test_a_recovery_that_cannot_go_on_is_given_up_and_never_taken_for_ended(
    how: str, own: PostgresServer, archiving: Archiving, relay: Relay, server_folder: Path
) -> None:
    archiving.pull()
    folder = server_folder / f"given-up{next(_NUMBERS)}"
    copy = recovering(own, folder, relay, {"hot_standby": "off"})  # ready only when it has ended
    for _ in range(3):
        write(own, MB)
        switch(own)
    archiving.pull()
    archive = archiving.archive()
    victim = archive.pieces()[-2]
    if how == "away":
        relay.configure(replace(archiving.storage, endpoint="http://127.0.0.1:9"))
    elif how == "damaged":
        archive.store.write(f"{archive._folder}{victim.key}", b"damaged")
    else:
        archive.delete([victim])
    with pytest.raises(BackupError):  # it does not start
        copy.start()
    copy.stop("immediate")
    assert relay.calls[-1][1] == 126
    assert relay.said[-1].startswith("tb-wal: ")
    if how == "missing":
        assert "is missing in the archive, which goes on to" in relay.said[-1]


def test_history_files_are_given_and_what_nobody_archives_is_not_there(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    target = tmp_path / "RECOVERYHISTORY"
    assert not fetched(archiving, "000000010000000000000001", target)  # nothing is archived yet
    archiving.pull()
    archive = archiving.archive()
    archive.put_history(2, b"1\t0/9000000\twhy\n")
    assert fetched(archiving, "00000002.history", target)
    assert target.read_bytes() == b"1\t0/9000000\twhy\n"
    for name in ("00000003.history", "000000010000000000000001.00000028.backup", "nonsense"):
        assert not fetched(archiving, name, target)


def test_what_follows_is_fetched_ahead_and_then_costs_nothing(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    for _ in range(12):
        write(own, MB // 2)
        switch(own)
    archiving.pull()
    names = [name for name in segments(own) if name > "000000010000000000000001"]
    requests = []
    for name in names:
        catalog = Catalog(archiving.storage)
        assert fetch(catalog, name, tmp_path / "RECOVERYXLOG")
        requests.append(catalog.bucket.requests)
        content = (own.pgdata / "pg_wal" / name).read_bytes()
        assert (tmp_path / "RECOVERYXLOG").read_bytes() == content
        ahead = [path for path in archiving.storage.local_dir.rglob("*") if path.is_file()]
        assert len([path for path in ahead if "fetched-" in str(path)]) <= 8
    assert sum(1 for each in requests if each > 1) <= 3
    assert sum(1 for each in requests if each <= 1) >= 9


def test_a_fetch_that_is_cut_short_at_any_request_gives_nothing_torn(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    for _ in range(3):
        write(own, MB // 2)
        switch(own)
    archiving.pull()
    names = [name for name in segments(own) if name > "000000010000000000000001"]
    for number in range(1, 40):
        cut_off = CutOff(number, carried_out=False)
        with proxy(archiving.storage.endpoint or "", cut_off) as endpoint:
            away = replace(archiving.storage, endpoint=endpoint, timeout=timedelta(0))
            for name in names:
                target = tmp_path / f"{name}-{number}"
                try:
                    given = fetched(Archiving(away), name, target)
                except BackupError:
                    assert not target.exists()
                    continue
                assert given
                assert target.read_bytes() == (own.pgdata / "pg_wal" / name).read_bytes()
        if cut_off.seen < number:
            break
    else:
        raise AssertionError("no fetch ended well")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_a_full_spool_keeps_no_segment_from_the_server(
    own: PostgresServer, archiving: Archiving, tmp_path: Path
) -> None:
    archiving.pull()
    for _ in range(3):
        write(own, MB // 2)
        switch(own)
    archiving.pull()
    local = archiving.storage.local_dir
    shutil.rmtree(local / "wal", ignore_errors=True)
    (local / "wal").write_text("no folder can be made here")
    for name in [name for name in segments(own) if name > "000000010000000000000001"]:
        assert fetched(archiving, name, tmp_path / name)
        assert (tmp_path / name).read_bytes() == (own.pgdata / "pg_wal" / name).read_bytes()


def test_of_several_clusters_the_data_directory_tells_which(
    own: PostgresServer, archiving: Archiving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiving.pull()
    write(own, MB)
    switch(own)
    archiving.pull()
    name, store = segments(own)[-1], archiving.archive().store
    other = WalArchive(store, Carrier("postgres/cluster/1"))
    for piece in archiving.archive().pieces():
        other.put(piece, bytes(piece.size))
    with pytest.raises(BackupError, match=r"WAL of 2 clusters.*in the data directory"):
        fetched(archiving, name, tmp_path / name)
    monkeypatch.chdir(own.pgdata)
    assert fetched(archiving, name, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (own.pgdata / "pg_wal" / name).read_bytes()


def test_wal_of_another_cluster_is_not_given(
    own: PostgresServer, archiving: Archiving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archiving.pull()
    write(own, MB)
    switch(own)
    archiving.pull()
    archive = archiving.archive()
    other = WalArchive(archive.store, Carrier("postgres/cluster/1"))
    for piece in archive.pieces():
        other.put(piece, archive.read(piece))
    reached = archive.reached()
    assert reached is not None
    other.note_reached(reached)
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "pg_control").write_bytes(struct.pack("=Q", 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackupError, match="not the WAL that its name says"):
        fetched(archiving, segments(own)[-1], tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("fetch",), 126),
        (("fetch", "00000009.history", "x"), 1),
        (("fetch", "00000009.history", "x", "--nonsense"), 126),
        (("push", "nowhere/000000010000000000000001"), 1),
        (("push", "x", "--s3-prefix=y"), 2),
    ],
    ids=str,
)
def test_only_what_is_not_there_ends_a_recovery(
    arguments: tuple[str, ...], status: int, relay: Relay, tmp_path: Path
) -> None:
    assert relay.run(tmp_path, *arguments) == status, relay.said
