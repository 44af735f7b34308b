"""Data left out of a whole cluster's restore is named, and mended where connections work."""

import subprocess
from pathlib import Path

from tests.postgres.taking import DISABLED, EVERYWHERE, Taking, ask, run, table
from three_backup.demo.servers import PostgresServer
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import WholeJob
from three_backup.sources.postgres.cluster.left_out import SCRIPT, left_out_of
from three_backup.sources.postgres.index import Index
from three_backup.sources.postgres.source import PostgresSource

WRITABLE = "DO $$ BEGIN WHILE pg_is_in_recovery() LOOP PERFORM pg_sleep(0.1); END LOOP; END $$"


def restored(taking: Taking, directory: Path) -> Restored:
    """Take a snapshot and restore it as a whole cluster into the directory."""
    return PostgresSource().restore_whole(
        WholeJob(
            chain=[taking.take()],
            directory=directory,
            moved={},
            owner=None,
            source_settings=EVERYWHERE,
            advance=lambda size: None,
            say=lambda sentence: None,
        )
    )


def mend(server: PostgresServer, **environ: str) -> str:
    """Run the script, which must succeed; return its stderr."""
    argv = (server.bindir / "psql", "-X", "-d", "postgres", "-f", server.pgdata / SCRIPT)
    done = subprocess.run(argv, env={**server.environ, **environ}, capture_output=True)
    said = done.stderr.decode(*AS_BYTES)
    assert done.returncode == 0, said
    return said


def test_a_database_that_takes_no_connections_keeps_no_other_one_from_being_mended(
    live: PostgresServer, taking: Taking, parent: Path
) -> None:
    names = ('"closed%one"', "shop")
    for name in names:
        run(live, "postgres", f"CREATE DATABASE {name}")
        run(live, name.strip('"'), "CREATE TABLE secret (i int PRIMARY KEY)")
        taking.settings[table(name.strip('"'), "secret")] = DISABLED
    restored(taking, parent / "pgdata")
    for name in names:
        run(live, "postgres", f"DROP DATABASE {name}")
    server = PostgresServer(parent, live.version, bindir=live.bindir)
    with (server.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"port = {server.port}\nunix_socket_directories = '{server.folder}'\n")
    with server:
        run(server, "postgres", WRITABLE)
        run(server, "postgres", 'ALTER DATABASE "closed%one" ALLOW_CONNECTIONS false')
        assert 'database "closed%one" takes no connections' in mend(server)
        assert ask(server, "shop", "SELECT count(*) FROM secret WHERE i = 1") == "0"
        run(server, "postgres", 'ALTER DATABASE "closed%one" ALLOW_CONNECTIONS true')
        assert mend(server) == ""
        assert ask(server, "closed%one", "SELECT count(*) FROM secret WHERE i = 1") == "0"


def test_databases_whose_tables_have_no_names_are_named(tmp_path: Path) -> None:
    objects: dict[ObjectId, tuple[str, ...]] = {
        table("shop", "secret"): ("base/5/16391",),
        table("shop", "seen"): ("base/5/16500",),
    }
    paths = ["base/5/16391", "base/5/16391_init", "base/5/16400", "base/7/16391"]
    left_out = left_out_of(Index({}, (), objects), paths)
    (note,) = left_out.notes(tmp_path)
    assert note.startswith(
        "no rows of postgres/table/shop/public/secret and of tables that were not readable in "
        "database shop, the database of oid 7 are in it"
    )
    (note,) = left_out_of(Index({}, (), {}), ["base/7/16391"]).notes(tmp_path)
    assert note.startswith("no rows of tables that were not readable in the database of oid 7 are")
