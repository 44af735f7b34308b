"""No server started from a snapshot writes into the tablespaces of a live server."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.rebuilding import rebuild, running
from tests.postgres.restoring import Restoring, beside, table
from tests.postgres.taking import EVERYWHERE, Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.jobs import WholeJob
from three_backup.sources.postgres.chain.opened import OpenedChain, Whole
from three_backup.sources.postgres.scratch.binaries import find_binaries
from three_backup.sources.postgres.scratch.folder import PGDATA, own, scratch_folder
from three_backup.sources.postgres.scratch.server import scratch_server, scratch_user
from three_backup.sources.postgres.scratch.wal import check_tablespaces
from three_backup.sources.postgres.source import PostgresSource

REFUSED = "a tablespace was created in {} while the snapshot was taken; .*--snapshot or --at"


@pytest.fixture
def space(live: PostgresServer, parent: Path) -> Iterator[Path]:
    """A folder for the tablespace `late`, which is dropped after the test."""
    folder = parent / "space"
    folder.mkdir()
    shutil.chown(folder, live.pgdata.owner(), live.pgdata.group())
    yield folder
    run(live, "postgres", "DROP TABLE IF EXISTS busy", "DROP TABLESPACE IF EXISTS late")


def create(live: PostgresServer, space: Path) -> None:
    run(
        live,
        "postgres",
        f"CREATE TABLESPACE late LOCATION '{space}'",
        "CREATE TABLE busy TABLESPACE late AS SELECT i FROM generate_series(1, 2000) i",
    )


def go_on(live: PostgresServer) -> None:
    """Change the pages on disk, so that replaying the earlier WAL would change them back."""
    run(live, "postgres", "UPDATE busy SET i = -i", "CHECKPOINT")


def add_wal(live: PostgresServer, pgdata: Path) -> None:
    """Copy the server's later WAL into pgdata, as if the backup had ended only now."""
    run(live, "postgres", "SELECT pg_switch_wal()")
    first = min(path.name for path in (pgdata / "pg_wal").glob("0*"))
    for segment in (live.pgdata / "pg_wal").glob("0*"):
        if segment.name >= first:
            shutil.copy(segment, pgdata / "pg_wal")
            own(pgdata / "pg_wal" / segment.name, scratch_user(None))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copy_of(live: PostgresServer, folder: Path) -> Path:
    pgdata = folder / PGDATA
    argv = [str(live.bindir / "pg_basebackup"), "--checkpoint=fast", "--no-sync"]
    subprocess.run([*argv, f"--pgdata={pgdata}"], check=True)
    for path in (pgdata, *pgdata.rglob("*")):
        own(path, scratch_user(None))
    return pgdata


@pytest.mark.parametrize("is_there", [True, False])
def test_a_scratch_server_does_not_start_where_it_would_write_into_a_live_tablespace(
    live: PostgresServer, parent: Path, space: Path, is_there: bool
) -> None:
    user, binaries = scratch_user(None), find_binaries(live.version, live.bindir, {})
    with scratch_folder(parent, user) as folder:
        pgdata = copy_of(live, folder)
        create(live, space)
        go_on(live)
        add_wal(live, pgdata)
        if not is_there:
            run(live, "postgres", "DROP TABLE busy", "DROP TABLESPACE late")
        before = contents(space)
        with (
            pytest.raises(BackupError, match=REFUSED.format(space)) as refused,
            scratch_server(binaries, folder, user, "postgres"),
        ):
            pass
        assert refused.value.code == "postgres.tablespace_meanwhile"
        assert contents(space) == before


def test_tablespaces_that_were_there_before_or_have_no_location_are_no_harm(
    live: PostgresServer, parent: Path, space: Path
) -> None:
    user, binaries = scratch_user(None), find_binaries(live.version, live.bindir, {})
    create(live, space)
    run(live, "postgres", "DROP TABLE busy", "DROP TABLESPACE late")
    with scratch_folder(parent, user) as folder:
        pgdata = copy_of(live, folder)
        run(
            live,
            "postgres",
            "SET allow_in_place_tablespaces = on",
            "CREATE TABLESPACE late LOCATION ''",
        )
        add_wal(live, pgdata)
        with (
            scratch_server(binaries, folder, user, "postgres") as server,
            server.connect("postgres") as scratch,
        ):
            assert scratch.execute("SELECT 1").fetchall() == [(1,)]


def test_a_tablespace_that_the_restore_itself_fills_may_be_created(
    live: PostgresServer, parent: Path, space: Path
) -> None:
    user, binaries = scratch_user(None), find_binaries(live.version, live.bindir, {})
    with scratch_folder(parent, user) as folder:
        pgdata = copy_of(live, folder)
        create(live, space)
        oid = int(ask(live, "postgres", "SELECT oid FROM pg_tablespace WHERE spcname = 'late'"))
        add_wal(live, pgdata)
        check_tablespaces(binaries, pgdata, user, {oid: space})
        for other in ({oid: parent}, {oid + 1: space}):
            with pytest.raises(BackupError, match=REFUSED.format(space)):
                check_tablespaces(binaries, pgdata, user, other)


def test_what_a_standby_still_has_of_an_older_timeline_is_not_read(
    live: PostgresServer, parent: Path
) -> None:
    user, binaries = scratch_user(None), find_binaries(live.version, live.bindir, {})
    with scratch_folder(parent, user) as folder:
        pgdata = copy_of(live, folder)
        label = pgdata / "backup_label"
        label.write_text(label.read_text().replace("(file 00000001", "(file 00000002"))
        for segment in list((pgdata / "pg_wal").glob("00000001*")):
            newer = segment.with_name(f"00000002{segment.name[8:]}")
            segment.rename(newer)
            segment.write_bytes(bytes(newer.stat().st_size))
        check_tablespaces(binaries, pgdata, user)


@pytest.mark.parametrize("kind", ["in place", "below the data directory"])
def test_tablespaces_inside_of_the_data_directory_come_back(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    parent: Path,
    kind: str,
) -> None:
    location = live.pgdata / "inside" if kind != "in place" else None
    if location is not None:
        location.mkdir()
        shutil.chown(location, live.pgdata.owner(), live.pgdata.group())
    run(
        live,
        database,
        "SET allow_in_place_tablespaces = on",
        f"CREATE TABLESPACE inside LOCATION '{location or ''}'",
        "CREATE TABLE t (i int PRIMARY KEY) TABLESPACE inside",
        "INSERT INTO t SELECT generate_series(1, 1000)",
    )
    chain = [taking.take()]
    run(live, database, "UPDATE t SET i = -i", "CREATE TABLE late TABLESPACE inside AS TABLE t")
    chain.append(taking.take(chain[-1]))
    try:
        for name in ("t", "late"):
            restoring.one(chain, beside(table(database, name), level3=f"{name}2"))
            assert ask(live, database, f"SELECT sum(i) FROM {name}2") == "-500500"
        if location is None:
            moved = {}
        else:
            with pytest.raises(BackupError, match=r"inside: .*--tablespace-mapping OLD=NEW"):
                rebuild(chain, parent)
            moved = {str(location): str(parent / "inside")}
        rebuild(chain, parent, moved)
        with running(parent, live) as server:
            for name in ("t", "late"):
                assert ask(server, database, f"SELECT sum(i) FROM {name}") == "-500500"
    finally:
        run(live, database, "DROP TABLE t, late", "DROP TABLESPACE inside")
        if location is not None:
            location.rmdir()


def test_a_whole_cluster_is_not_handed_over_where_its_start_would_write_into_a_live_tablespace(
    live: PostgresServer,
    parent: Path,
    space: Path,
    taking: Taking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = [taking.take()]
    create(live, space)
    go_on(live)

    lay_out = OpenedChain.lay_out_whole

    def lay_out_with_more_wal(chain: OpenedChain, whole: Whole, pgdata: Path, *user: Any) -> Any:
        laid_out = lay_out(chain, whole, pgdata, *user)
        add_wal(live, pgdata)
        return laid_out

    monkeypatch.setattr(OpenedChain, "lay_out_whole", lay_out_with_more_wal)
    before = contents(space)
    with pytest.raises(BackupError, match=REFUSED.format(space)):
        PostgresSource().restore_whole(
            WholeJob(
                chain=chain,
                directory=parent / "rebuilt",
                moved={},
                owner=None,
                source_settings=EVERYWHERE,
                advance=lambda size: None,
                say=lambda sentence: None,
            )
        )
    assert not (parent / "rebuilt").exists()
    assert contents(space) == before
    assert ask(live, "postgres", "SELECT max(i) FROM busy") == "-1"
