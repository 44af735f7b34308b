"""What needs nothing that this host lacks comes back; for the rest, the package is named."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.restoring import Restoring, beside, rows, table
from tests.postgres.taking import EVERYWHERE, Taking, run
from tests.postgres.test_check import NOW, settings
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.findings import Mark
from three_backup.sources.base import Restored
from three_backup.sources.jobs import CheckJob, DrillJob
from three_backup.sources.postgres.check_here import check_blocks
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.scratch.binaries import find_binaries
from three_backup.sources.postgres.scratch.server import scratch_user
from three_backup.sources.postgres.source import PostgresSource

FOREIGN = "xx_XX.UTF-8"
_MODEL = next(Path("/usr/lib/locale").glob("C.*"), None)


class Elsewhere(PostgresServer):
    """A server of another host, which has a locale more than this one, until it moves here."""

    is_here = False

    @property
    def _own_environ(self) -> dict[str, str]:
        own = super()._own_environ
        return own if self.is_here else {**own, "LOCPATH": str(self.folder / "locales")}

    def move_here(self) -> None:
        self.is_here = True
        self.restart()


@pytest.fixture(params=[17, 18])
def elsewhere(
    request: pytest.FixtureRequest, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Elsewhere]:
    if _MODEL is None:
        pytest.skip("this host has no folder of a locale to stand for another one")
    folder = server_folder / f"elsewhere{request.param}"
    locales = folder / "locales"
    locales.mkdir(parents=True)
    (locales / FOREIGN).symlink_to(_MODEL)
    with Elsewhere(folder, request.param) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server
    shutil.rmtree(folder)


TABLES = (
    'CREATE TABLE t (i int PRIMARY KEY, t text UNIQUE, c text COLLATE "C")',
    "INSERT INTO t VALUES (1, 'ä', 'b'), (2, 'Z', 'a')",
)


def test_rows_of_a_database_come_back_where_its_locale_is_missing(
    elsewhere: Elsewhere, taking: Taking, restoring: Restoring
) -> None:
    create = f"TEMPLATE template0 LOCALE '{FOREIGN}' LOCALE_PROVIDER libc"
    run(elsewhere, "postgres", f"CREATE DATABASE old {create}", "CREATE DATABASE present")
    run(elsewhere, "old", *TABLES)
    chain = [taking.take()]
    elsewhere.move_here()
    run(elsewhere, "present", *TABLES)

    old, copy = table("old", "t"), table("present", "copy")
    restoring.one(chain, beside(old, level1="present", level3="copy"))
    assert rows(elsewhere, copy) == rows(elsewhere, table("present", "t"))

    ((_, outcome),) = PostgresSource().drill(
        DrillJob(
            objects=[each for each in chain[0].manifest.objects if each.id == old],
            chain=chain,
            content=False,
            name="test",
            source_settings=EVERYWHERE,
            work_dir=restoring.folder,
            advance=lambda size: None,
            say=restoring.said.append,
        )
    )
    assert outcome == Restored({"rows": 2, "indexes": 2})  # the key, and that of TOAST
    assert "1 of its indexes not checked" in restoring.said[0]

    with pytest.raises(BackupError, match=f'locale name: "{FOREIGN}".*package locales') as refused:
        restoring.one(chain, beside(old, level1="new"))
    assert refused.value.code == "postgres.no_locale"


def test_rows_come_back_where_the_locale_of_all_databases_is_missing_and_nobody_may_log_in(
    elsewhere: Elsewhere, taking: Taking, restoring: Restoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = f"""UPDATE pg_database SET datlocprovider = 'c', datlocale = NULL,
                 datcollate = '{FOREIGN}', datctype = '{FOREIGN}'"""
    run(elsewhere, "postgres", "CREATE ROLE boss SUPERUSER LOGIN", change)
    run(elsewhere, "postgres", *TABLES, "ALTER ROLE postgres NOLOGIN")
    monkeypatch.setenv("PGUSER", "boss")
    chain = [taking.take()]
    with connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(change.replace(FOREIGN, "C").encode())
        connection.execute("ALTER ROLE postgres LOGIN")
    elsewhere.move_here()

    t, copy = table("postgres", "t"), table("postgres", "copy")
    restoring.one(chain, beside(t, level3="copy"))
    assert rows(elsewhere, copy) == rows(elsewhere, t)


def test_tables_that_need_a_locale_that_is_missing_fail_alone(
    elsewhere: Elsewhere, taking: Taking, restoring: Restoring
) -> None:
    run(
        elsewhere,
        "postgres",
        f"CREATE COLLATION mine (PROVIDER = libc, LOCALE = '{FOREIGN}')",
        f"CREATE COLLATION pg_catalog.of_initdb (PROVIDER = libc, LOCALE = '{FOREIGN}')",
        "CREATE TABLE needy (t text COLLATE mine PRIMARY KEY)",
        "CREATE TABLE imported (t text COLLATE pg_catalog.of_initdb PRIMARY KEY)",
        "INSERT INTO needy VALUES ('b')",
        *TABLES,
        "CREATE DATABASE fresh TEMPLATE template0",
    )
    chain = [taking.take()]
    elsewhere.move_here()
    wanted = [table("postgres", name) for name in ("needy", "imported", "t")]
    outcomes = restoring.all(chain, *(beside(one, level1="fresh") for one in wanted))
    needy, imported, free = outcomes.values()
    assert isinstance(free, Restored), str(free)
    assert isinstance(needy, BackupError)
    assert isinstance(imported, BackupError)
    assert f'could not create locale "{FOREIGN}"' in needy.message
    assert 'collation "pg_catalog.of_initdb" for encoding "UTF8" does not' in imported.message
    assert "package locales" in needy.hint
    assert "package locales" in imported.hint


def test_tables_that_need_a_library_that_is_missing_fail_alone(
    elsewhere: Elsewhere, taking: Taking, restoring: Restoring
) -> None:
    gone = "UPDATE pg_proc SET probin = '$libdir/{1}' WHERE probin = '$libdir/{0}'"
    run(
        elsewhere,
        "postgres",
        "CREATE EXTENSION hstore",
        "CREATE TABLE needy AS SELECT 'a=>b'::hstore AS h",
        *TABLES,
        gone.format("hstore", "absent"),
    )
    chain = [taking.take()]
    run(elsewhere, "postgres", gone.format("absent", "hstore"))
    elsewhere.move_here()
    wanted = [table("postgres", name) for name in ("needy", "t")]
    outcomes = restoring.all(chain, *(beside(one, level3=f"{one.level3}2") for one in wanted))
    needy, free = outcomes.values()
    assert isinstance(free, Restored), str(free)
    assert isinstance(needy, BackupError)
    assert re.search(r'could not access file "[^"]*absent"', needy.message)
    assert "install the package of the extension with that library" in needy.hint


def test_a_check_names_what_this_host_lacks(elsewhere: Elsewhere) -> None:
    inside = elsewhere.pgdata / "inside"
    inside.mkdir()
    shutil.chown(inside, elsewhere.pgdata.owner(), elsewhere.pgdata.group())
    run(
        elsewhere,
        "postgres",
        f"CREATE COLLATION mine (PROVIDER = libc, LOCALE = '{FOREIGN}')",
        "CREATE TABLE t (t text COLLATE mine)",
        "CREATE EXTENSION hstore",
        "UPDATE pg_proc SET probin = '$libdir/absent' WHERE proname = 'hstore_in'",
        f"CREATE TABLESPACE within LOCATION '{inside}'",
    )
    job = CheckJob(settings(elsewhere.bindir), NOW)
    found = {finding.subject: finding for finding in PostgresSource().check(job)}
    for subject, name in (
        ("locales", FOREIGN),
        ("extensions", "absent"),
        ("tablespaces", "within"),
    ):
        assert found[subject].mark is Mark.NOTE
        assert name in found[subject].sentence
    assert "hstore" not in found["extensions"].sentence
    assert found["restores"].mark is Mark.GOOD


def test_programs_for_blocks_of_another_size_are_refused(elsewhere: Elsewhere) -> None:
    binaries = find_binaries(elsewhere.version, elsewhere.bindir, {})
    with pytest.raises(BackupError, match=r"blocks of 4096 bytes, but .* built for 8192"):
        check_blocks(binaries, scratch_user(None), 4096)
