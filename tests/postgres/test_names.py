"""Names in other bytes than UTF-8: of databases, roles, tables and what belongs to them."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.findings import Finding, Mark
from three_backup.model.objects import AS_BYTES, ObjectId
from three_backup.sources.base import Found, Unreadable
from three_backup.sources.jobs import CheckJob
from three_backup.sources.postgres.restoring.database_name import rename_database
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.spelling import Session, connect_to

from .restoring import Restoring, beside, in_place, table
from .taking import DISABLED, EVERYWHERE, Taking
from .test_restore_left_out import WRITABLE, mend, restored

CAFE = "caf\udce9"


def execute(
    server: PostgresServer, database: str, *statements: str, user: str = "postgres"
) -> list[tuple[object, ...]]:
    """Run statements and return the rows of the last one; the server gets all bytes."""
    given = {
        "host": str(server.folder),
        "port": str(server.port),
        "user": user,
        "dbname": database,
    }
    session = connect_to(given, Session)
    with session:
        *first, last = (statement.encode(*AS_BYTES) for statement in statements)
        for statement in first:
            session.execute(statement)
        done = session.execute(last)
        return done.fetchall() if done.rownumber is not None else []


@pytest.fixture(scope="module", params=[17, 18])
def odd(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[PostgresServer]:
    """A server of each version with the database `latin`, from which others got odd names."""
    folder = server_folder / f"odd{request.param}"
    with PostgresServer(folder, request.param) as server:
        execute(
            server,
            "postgres",
            "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0",
            "CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0",
        )
        execute(
            server,
            "ascii",
            f"CREATE DATABASE \"{CAFE}\" ENCODING UTF8 LOCALE 'C' TEMPLATE template0",
            f'CREATE ROLE "{CAFE}" LOGIN',
            f'CREATE SCHEMA "{CAFE}"',
            f'CREATE TABLE "{CAFE}"."{CAFE}" ("{CAFE}" int CONSTRAINT "{CAFE}_pk" PRIMARY KEY, '
            f"\"n{CAFE}\" serial, word text CHECK (word <> '{CAFE}x'))",
            f'INSERT INTO "{CAFE}"."{CAFE}" VALUES (1, DEFAULT, \'{CAFE}\'), (2, DEFAULT, NULL)',
            f'CREATE INDEX "{CAFE}_idx" ON "{CAFE}"."{CAFE}" (word)',
            f'CREATE VIEW "{CAFE}"."{CAFE}_v" AS SELECT word FROM "{CAFE}"."{CAFE}"',
            f'ALTER TABLE "{CAFE}"."{CAFE}" OWNER TO "{CAFE}"',
            "CREATE TABLE plain AS SELECT 1 AS i",
        )
        execute(
            server,
            CAFE,
            "CREATE TABLE café AS SELECT generate_series(1, 3) AS i",
            "CREATE TABLE owned AS SELECT 7 AS i",
        )
        execute(
            server,
            CAFE,
            f'ALTER TABLE owned OWNER TO "{CAFE}"',
            f'GRANT SELECT ON café TO "{CAFE}"',
            "ALTER TABLE café ENABLE ROW LEVEL SECURITY",
            f'CREATE POLICY p ON café TO "{CAFE}" USING (i > 1)',
        )
        execute(server, "latin", "CREATE TABLE café AS SELECT 'é'::text AS word")
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def server(odd: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    for name, value in odd.environ.items():
        monkeypatch.setenv(name, value)
    return odd


def test_every_database_is_listed_with_the_bytes_of_its_names(server: PostgresServer) -> None:
    found = {str(one.id) for one in discover() if isinstance(one, Found)}
    assert not [one for one in discover() if isinstance(one, Unreadable)]
    assert found == {
        "postgres/table/ascii/caf%E9/caf%E9",
        "postgres/table/ascii/public/plain",
        "postgres/table/caf%E9/public/café",
        "postgres/table/caf%E9/public/owned",
        "postgres/table/latin/public/café",
        "postgres/view/ascii/caf%E9/caf%E9_v",
    }


@pytest.mark.parametrize("database", [CAFE, "latin", "ascii"])
def test_databases_are_the_same_whichever_one_is_asked(
    server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATABASE", database)
    test_every_database_is_listed_with_the_bytes_of_its_names(server)


def test_a_table_without_encoding_comes_back_with_all_its_names(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    wanted = ObjectId("postgres", "table", "ascii", CAFE, CAFE)
    chain = [taking.take()]
    assert "postgres/table/ascii/caf%E9/caf%E9" in {
        str(carried.id) for carried in chain[0].manifest.objects
    }
    before = _look_of_table(server, "ascii", CAFE)
    execute(server, "ascii", f'DROP TABLE "{CAFE}"."{CAFE}" CASCADE')
    assert restoring.one(chain, in_place(wanted)).notes == ()
    assert _look_of_table(server, "ascii", CAFE) == before
    assert restoring.one(chain, in_place(wanted), overwrite=True).facts["rows"] == 2
    restoring.one(chain, in_place(replace(wanted, subtype="view", level3=f"{CAFE}_v")))
    assert execute(server, "ascii", f'SELECT count(*) FROM "{CAFE}"."{CAFE}_v"') == [(2,)]
    restoring.one(chain, beside(wanted, level1="new"))
    assert _look_of_table(server, "new", CAFE) == before
    restoring.one(chain, beside(wanted, level3=f"{CAFE}\udce8"))
    renamed = _look_of_table(server, "ascii", f"{CAFE}\udce8")
    assert renamed[-1][0].startswith(f'CREATE UNIQUE INDEX "{CAFE}\udce8_pk" ON ')  # type: ignore[attr-defined]
    execute(server, "ascii", f'DROP TABLE "{CAFE}"."{CAFE}\udce8"')
    execute(server, "postgres", "DROP DATABASE new")


def test_a_table_with_an_odd_name_is_refused_where_the_name_cannot_be(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    wanted = ObjectId("postgres", "table", "ascii", CAFE, CAFE)
    with pytest.raises(BackupError, match='database "postgres" cannot hold it') as caught:
        restoring.one([taking.take()], beside(wanted, level1="postgres"))
    assert caught.value.code == "postgres.other_encoding"
    assert "/caf%E9/caf%E9: " in str(caught.value)


@pytest.mark.parametrize("asked", ["postgres", "latin"])
def test_a_database_with_an_odd_name_is_restored_and_created(
    server: PostgresServer,
    taking: Taking,
    restoring: Restoring,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGDATABASE", asked)
    chain = [taking.take()]
    execute(server, CAFE, "DROP TABLE owned")
    assert restoring.one(chain, in_place(table(CAFE, "owned"))).notes == ()
    other = f"{CAFE} \\ 'x'"
    assert restoring.one(chain, beside(table(CAFE, "owned"), level1=other)).notes == (
        f"the database {other} was not there, now created",
    )
    for database in (CAFE, other):
        assert execute(
            server,
            database,
            "SELECT tableowner, i FROM owned, pg_tables WHERE tablename = 'owned'",
        ) == [(CAFE, 7)]
    with pytest.raises(BackupError, match=r"did not exist at the end"):
        restoring.one(chain, beside(table(CAFE, "nothing"), level1=f"{CAFE}3"))
    names = [name for (name,) in execute(server, "ascii", "SELECT datname FROM pg_database")]
    assert CAFE + "3" not in names
    assert not [name for name in names if str(name).startswith("three_backup")]
    rename_database(other, "dropped")
    execute(server, "postgres", "DROP DATABASE dropped")


def test_owners_grants_and_policies_of_odd_roles_come_back(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    for level3 in ("café", "copy"):
        restored = restoring.one(chain, beside(table(CAFE, "café"), level3=level3), overwrite=True)
        assert restored.notes == ()
        query = f"SELECT relacl::text FROM pg_class WHERE relname = '{level3}'"
        assert execute(server, CAFE, query) == [
            (f'{{postgres=arwdDxtm/postgres,"\\"{CAFE}\\"=r/postgres"}}',)
        ]
        query = f"SELECT roles::text, qual FROM pg_policies WHERE tablename = '{level3}'"
        assert execute(server, CAFE, query) == [(f"{{{CAFE}}}", "(i > 1)")]
    execute(server, CAFE, 'DROP TABLE "copy"')


def test_code_of_an_odd_role_runs_as_that_role(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    execute(
        server,
        CAFE,
        "CREATE FUNCTION me(oid) RETURNS bool LANGUAGE sql AS "
        "'SELECT rolname = current_user FROM pg_catalog.pg_roles WHERE oid = $1'",
        "CREATE TABLE mine (who oid CHECK (me(who)))",
        f'ALTER TABLE mine OWNER TO "{CAFE}"',
        f'SET ROLE "{CAFE}"',
        "INSERT INTO mine SELECT oid FROM pg_roles WHERE rolname = current_user",
    )
    chain = [taking.take()]
    restored = restoring.one(chain, in_place(table(CAFE, "mine")), overwrite=True)
    assert restored.notes == ()
    owner = "SELECT pg_get_userbyid(who), pg_get_userbyid(relowner) FROM mine, pg_class "
    assert execute(server, CAFE, f"{owner} WHERE relname = 'mine'") == [(CAFE, CAFE)]
    execute(server, CAFE, "DROP TABLE mine", "DROP FUNCTION me")


def test_tables_in_another_encoding_keep_their_readable_names(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    restoring.one(chain, in_place(table("latin", "café")), overwrite=True)
    assert execute(server, "latin", "TABLE café") == [("é",)]


def test_databases_are_created_under_their_own_names_whichever_one_is_asked(
    server: PostgresServer,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGDATABASE", "latin")
    restoring.one([taking.take()], beside(table("latin", "café"), level1="кафé"))
    assert execute(server, "кафé", "TABLE café") == [("é",)]
    assert execute(server, "postgres", 'DROP DATABASE "кафé"') == []


def test_what_is_no_character_of_its_encoding_comes_back(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    template = "LOCALE 'C' TEMPLATE template0"
    execute(server, "postgres", f"CREATE DATABASE win ENCODING WIN1251 {template}")
    execute(server, "postgres", 'CREATE ROLE "Иван"')  # И has the byte 98, which WIN1251 has not
    roles = [str(name) for (name,) in execute(server, "win", "SELECT rolname FROM pg_roles")]
    (role,) = (name for name in roles if "\udc98" in name)
    execute(
        server,
        "win",
        "CREATE TABLE заказ (имя text CHECK (имя <> 'Ж'))",
        "INSERT INTO заказ VALUES ('И\udc98')",
        'CREATE TABLE "т\udc98" (i int)',
        f'ALTER TABLE заказ OWNER TO "{role}"',
        f"CREATE POLICY p ON заказ TO \"{role}\" USING (имя <> 'Ы')",
    )
    names = {str(one.id) for one in discover() if isinstance(one, Found)}
    assert {"postgres/table/win/public/заказ", "postgres/table/win/public/т%98"} <= names
    (said,) = (finding.sentence for finding in check() if finding.subject == "names")
    assert said.endswith(", in database win tables or views: 1")
    chain = [taking.take()]
    query = (
        "SELECT имя, tableowner, pg_get_constraintdef(c.oid), roles::text, qual "
        "FROM заказ, pg_tables, pg_constraint c, pg_policies p "
        "WHERE pg_tables.tablename = 'заказ' AND conrelid = 'заказ'::regclass"
    )
    before = execute(server, "win", query)
    assert before[0][:2] == ("И\udc98", role)
    restoring.one(chain, in_place(table("win", "т\udc98")), overwrite=True)
    for database, overwrite in (("win", True), ("copy", False)):
        wanted = beside(table("win", "заказ"), level1=database)
        assert "role" not in str(restoring.one(chain, wanted, overwrite=overwrite).notes)
        assert execute(server, database, query) == before
    for database in ("win", "copy"):
        execute(server, "postgres", f"DROP DATABASE {database}")
    execute(server, "postgres", 'DROP ROLE "Иван"')


def test_rows_find_their_way_into_another_encoding(
    server: PostgresServer, taking: Taking, restoring: Restoring
) -> None:
    restoring.one([taking.take()], beside(table("latin", "café"), level1="postgres"))
    assert execute(server, "postgres", "TABLE café") == [("é",)]
    execute(server, "postgres", "DROP TABLE café")


def test_a_check_names_what_is_not_utf8_in_one_line(server: PostgresServer) -> None:
    found = [finding for finding in check() if finding.subject == "names"]
    assert [finding.mark for finding in found] == [Mark.NOTE]
    assert found[0].sentence == (
        "not UTF-8, and written with %E9 for a byte E9: database caf%E9, "
        "in database ascii tables or views: 2"
    )


def test_a_server_whose_superuser_has_an_odd_name_is_backed_up_and_restored(
    server_folder: Path, taking: Taking, restoring: Restoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = server_folder / "renamed"
    with PostgresServer(folder) as server:
        template = "LOCALE 'C' TEMPLATE template0"
        execute(server, "postgres", f"CREATE DATABASE ascii ENCODING SQL_ASCII {template}")
        execute(
            server,
            "ascii",
            "CREATE TABLE t AS SELECT 1 AS i",
            "CREATE ROLE helper SUPERUSER LOGIN",
        )
        rename = f'ALTER ROLE postgres RENAME TO "{CAFE}"'
        execute(server, "ascii", rename, user="helper")
        for name, value in {**server.environ, "PGUSER": CAFE, "PGDATABASE": "ascii"}.items():
            monkeypatch.setenv(name, value)
        snapshot = taking.take()
        assert snapshot.manifest.facts["superuser"] == CAFE
        restored = restoring.one([snapshot], in_place(table("ascii", "t")), overwrite=True)
        assert restored.notes == ()
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 't'"
        assert execute(server, "ascii", owner, user="helper") == [(CAFE,)]
        roles = [one.sentence for one in check() if one.subject == "postgres"]
        assert roles == ["PostgreSQL 17.10 answers, to role caf\udce9"]
    shutil.rmtree(folder)


def test_tables_left_out_of_a_whole_cluster_are_mended_under_odd_names(
    server: PostgresServer, taking: Taking, parent: Path
) -> None:
    secret = ObjectId("postgres", "table", "ascii", CAFE, CAFE)
    taking.settings = {secret: DISABLED, table(CAFE, "owned"): DISABLED}
    restored(taking, parent / "pgdata")
    rebuilt = PostgresServer(parent, server.version, bindir=server.bindir)
    with (rebuilt.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"port = {rebuilt.port}\nunix_socket_directories = '{rebuilt.folder}'\n")
    with rebuilt:
        execute(rebuilt, "postgres", WRITABLE)
        assert mend(rebuilt, PGCLIENTENCODING="UTF8") == ""
        count = f'SELECT count(*) FROM "{CAFE}"."{CAFE}" WHERE "{CAFE}" = 1'
        assert execute(rebuilt, "ascii", count) == [(0,)]
        assert execute(rebuilt, CAFE, "SELECT count(*) FROM café") == [(3,)]


def check() -> list[Finding]:
    return list(PostgresSource().check(CheckJob(EVERYWHERE, datetime.now(UTC))))


def discover() -> list[Found | Unreadable]:
    return list(PostgresSource().discover((), EVERYWHERE, lambda said: None))


def _look_of_table(server: PostgresServer, database: str, name: str) -> list[tuple[object, ...]]:
    """Return owner, rows and names of columns, constraints and indexes of a table."""
    full = f'"{CAFE}"."{name}"'
    return [
        *execute(server, database, f"SELECT t::text FROM {full} t ORDER BY 1"),
        *execute(
            server,
            database,
            f"SELECT pg_get_userbyid(relowner), pg_get_serial_sequence('{full}', 'n{CAFE}') "
            f"FROM pg_class WHERE oid = '{full}'::regclass",
        ),
        *execute(
            server,
            database,
            "SELECT attname FROM pg_attribute WHERE attnum > 0 AND "
            f"attrelid = '{full}'::regclass ORDER BY attnum",
        ),
        *execute(
            server,
            database,
            f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE "
            f"conrelid = '{full}'::regclass ORDER BY 1",
        ),
        *execute(
            server,
            database,
            f"SELECT pg_get_indexdef(indexrelid) FROM pg_index "
            f"WHERE indrelid = '{full}'::regclass ORDER BY 1",
        ),
    ]
