"""An administrator's SQL runs before rows leave a snapshot, with the rights of their owner."""

from collections.abc import Iterator

import pytest

from tests.pipeline.conftest import Host, Outcome

_MADE = """
create role keeper; create role other;
create table users (id int primary key, mail text,
                    size int generated always as (length(mail)) stored);
insert into users (id, mail) select i, 'user' || i || '@mail.org' from generate_series(1, 300) i;
create table spied (mail text);
create function spy() returns trigger language plpgsql as $$
begin insert into spied values (old.mail); return new; end $$;
create trigger spies before update or delete on users for each row execute function spy();
create table visits (at date, who int references users) partition by range (at);
create table visits_2025 partition of visits for values from ('2025-01-01') to ('2026-01-01');
create table visits_2026 partition of visits for values from ('2026-01-01') to ('2027-01-01');
insert into visits select date '2025-12-01' + i, i from generate_series(1, 60) i;
grant select (id) on users to other; grant select, update on users to keeper;
alter table users owner to keeper; alter table visits owner to keeper;
alter table visits_2025 owner to keeper; alter table visits_2026 owner to keeper;
create table notes as select 1 as id, 'secret' as note;
create schema lair;
create function lair.strikes(text) returns bool language plpgsql as $$
begin execute 'copy (select 1) to program ''touch {0}'''; return true; end $$;
create table lair.trap (id int, name text);
insert into lair.trap values (1, 'one');
alter table lair.trap add check (lair.strikes(name)) not valid;
"""
_SORTED_ELSEWHERE = """
create table users as select 7 as id, 'x' as mail;
update pg_database set datcollversion = '0' where datname = current_database()
"""
_GRANTS = """
select relname::text, pg_get_userbyid(relowner)::text,
       coalesce(relacl, acldefault('r', relowner))::text,
       (select array_agg(attacl::text order by attnum) from pg_attribute
         where attrelid = c.oid and attnum > 0)
  from pg_class c where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
   and relname like any (array['users', 'visits%']) order by 1
"""
_MASK = """\
-- nobody's mail leaves; \\copy in a comment is no command
UPDATE users SET mail = 'user' || id || '@example.org';
DELETE FROM visits WHERE at < '2026-01-01';  -- 30 days
DO $$ BEGIN PERFORM ';'; END $$;
"""
_MASKED = "masked"


@pytest.fixture(scope="module")
def stored(host_of_module: Host) -> Iterator[Host]:
    host = host_of_module
    host.execute(_MADE.format(host.folder / "struck"))
    host.execute(f"create database {host.database}_too", "postgres")
    host.execute(_SORTED_ELSEWHERE, f"{host.database}_too")
    host.good("tb-run")
    host.wipe()
    yield host
    host.execute(f"drop database {host.database} with (force)", "postgres")
    host.execute(f"create database {host.database}", "postgres")
    host.execute("drop role keeper; drop role other", "postgres")


@pytest.fixture
def copies(stored: Host) -> Iterator[str]:
    """The name of a database that restores make."""
    name = f"{stored.database}_{_MASKED}"
    yield name
    stored.execute(f"drop database if exists {name} with (force)", "postgres")


def masked(host: Host, sql: str, *names: str, options: str = "") -> Outcome:
    (host.folder / "mask.sql").write_text(sql)
    into = f"--level1 {host.database}_{_MASKED}"
    objects = " ".join(map(host.table, names))
    return host.sh(f"tb-restore --sql-before mask.sql {into} {options} {objects}")


def _databases(host: Host) -> list[str]:
    found = host.rows("select datname::text from pg_database", "postgres")
    return [name for (name,) in found if name.endswith(_MASKED)]


def test_only_what_the_sql_left_leaves(stored: Host, copies: str) -> None:
    outcome = masked(stored, _MASK, "users", "visits")
    assert outcome.status == 0, outcome.stderr
    did = ["UPDATE 300", "DELETE 30", "DO"]
    assert [record["restored"]["sql_before"] for record in outcome.records] == [did, did]
    said = f"{stored.database}: mask.sql ran before rows left it: UPDATE 300, DELETE 30, DO"
    assert outcome.stderr.count(said) == 1
    found = stored.rows("select id, mail, size from users order by id", copies)
    expected = [f"user{number}@example.org" for number in range(1, 301)]
    assert found == [(number, mail, len(mail)) for number, mail in enumerate(expected, 1)]
    assert stored.rows("select count(*), min(at)::text from visits", copies) == [
        (30, "2026-01-01")
    ]
    assert stored.rows(_GRANTS, copies) == stored.rows(_GRANTS)


def test_columns_can_go_and_a_table_gets_another_name(stored: Host) -> None:
    (stored.folder / "mask.sql").write_text("\ufeffALTER TABLE notes DROP COLUMN note;")
    line = f"tb-restore --sql-before mask.sql --level3-suffix _{_MASKED} {stored.table('notes')}"
    assert stored.good(line).records[0]["restored"]["sql_before"] == ["ALTER TABLE"]
    assert stored.rows(f"select to_json(n)::text from notes_{_MASKED} n") == [('{"id":1}',)]
    stored.execute(f"drop table notes_{_MASKED}")


def test_of_very_many_statements_the_first_are_told(stored: Host, copies: str) -> None:
    sql = "".join(f"UPDATE users SET mail = '{number}' WHERE id = 1;\n" for number in range(5000))
    outcome = masked(stored, sql, "users")
    (record,) = outcome.records
    assert record["restored"]["sql_before"] == [*["UPDATE 1"] * 20, "4980 more"]
    assert stored.rows("select mail from users where id = 1", copies) == [("4999",)]


def test_triggers_of_the_source_do_not_fire(stored: Host, copies: str) -> None:
    """They would write down what is to be masked."""
    outcome = masked(stored, "UPDATE users SET mail = ''", "users")
    assert outcome.status == 0, outcome.stderr  # and nothing was written to a table without file
    triggers = "select tgname::text, tgenabled::text from pg_trigger where not tgisinternal"
    assert stored.rows(triggers, copies) == [("spies", "O")]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1;\n\nUPDATE users SET male = 1;", "mask.sql, line 3: column"),
        (
            "SELECT 1; -- ;\n/* ; /* ; */ */ SELECT $$;$$, ';';\nSELECT id / 0 FROM users",
            "line 3: div",
        ),
        ("SELECT 'it''s', E'\\\\';\n\\! touch struck", "mask.sql, line 2: \\! is for psql"),
        ("BEGIN; UPDATE users SET mail = ''", "a transaction is open at its end"),
        ("BEGIN; UPDATE users SET mail = ''; ROLLBACK", "ROLLBACK undoes what is to be done"),
        ("DROP TABLE users CASCADE", "mask.sql drops or renames public.users"),
        ("COPY users (mail) FROM stdin;\nx\n\\.\n", "\\. is for psql"),
        ("COPY users TO STDOUT", "COPY cannot read or write here"),
        ("COPY users TO PROGRAM 'touch struck'", "permission denied to COPY"),
        ("SET ROLE postgres", "permission denied to set role"),
        ("RESET SESSION AUTHORIZATION; TABLE pg_authid", "permission denied for table pg_authid"),
        ("SET session_replication_role = origin", "permission denied to set parameter"),
        ("UPDATE notes SET note = ''", "name only tables that are restored with it"),
        ("/* nothing */;", "mask.sql: it holds no statement"),
    ],
)
def test_nothing_leaves_after_a_script_that_failed(
    stored: Host, copies: str, sql: str, said: str
) -> None:
    outcome = masked(stored, sql, "users")
    assert outcome.status == 1
    assert said in outcome.stderr
    assert _databases(stored) == []
    assert not (stored.folder / "struck").exists()


def test_code_in_the_table_of_a_superuser_gets_no_rights_from_it(
    stored: Host, copies: str
) -> None:
    (stored.folder / "mask.sql").write_text("UPDATE lair.trap SET name = 'masked'")
    trap = stored.table("trap", "lair")
    outcome = stored.sh(f"tb-restore --sql-before mask.sql --level1 {copies} {trap}")
    assert outcome.status == 1
    assert "permission denied" in outcome.stderr
    assert not (stored.folder / "struck").exists()


def test_tables_of_two_owners_are_not_mixed(stored: Host, copies: str) -> None:
    outcome = masked(stored, "UPDATE users SET mail = ''", "users", "notes")
    assert outcome.status == 1
    assert 'the tables belong to "keeper" and "postgres"' in outcome.stderr
    assert _databases(stored) == []


def test_it_runs_in_each_database(stored: Host) -> None:
    (stored.folder / "mask.sql").write_text("UPDATE users SET mail = 'nobody'")
    both = " ".join(
        f"postgres/table/{name}/public/users"
        for name in (stored.database, f"{stored.database}_too")
    )
    suffix = f"--level1-suffix _{_MASKED}"
    outcome = stored.good(f"tb-restore --sql-before mask.sql {suffix} {both}")
    told = {record["level1"]: record["restored"]["sql_before"] for record in outcome.records}
    assert sorted(told.values()) == [["UPDATE 1"], ["UPDATE 300"]]
    for name in (stored.database, f"{stored.database}_too"):
        copy = f"{name}_{_MASKED}"
        assert stored.rows("select distinct mail from users", copy) == [("nobody",)]
        stored.execute(f"drop database {copy} with (force)", "postgres")


def test_an_index_in_another_order_than_that_of_this_host_hides_no_row(
    stored: Host, copies: str
) -> None:
    off = " and ".join(
        f"current_setting('{setting}') = 'off'"
        for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
    )
    (stored.folder / "mask.sql").write_text(f"UPDATE users SET mail = 'found' WHERE {off}")
    table = f"postgres/table/{stored.database}_too/public/users"
    outcome = stored.good(f"tb-restore --sql-before mask.sql --level1 {copies} {table}")
    assert outcome.records[0]["restored"]["sql_before"] == ["UPDATE 1"]


def test_what_is_no_sql_file_is_refused_before_anything_is_read(stored: Host) -> None:
    (stored.folder / "latin.sql").write_bytes("UPDATE t SET n = 'é'".encode("latin-1"))
    for name, said in (("latin.sql", "it is not UTF-8 at byte 19"), ("none.sql", "no such file")):
        outcome = stored.sh(f"tb-restore --sql-before {name} {stored.table('users')}")
        assert (outcome.status, outcome.stdout) == (2, "")
        assert said in outcome.stderr
    (stored.folder / "mask.sql").write_text("\\i other.sql")
    planned = stored.sh(f"tb-restore --dry-run --sql-before mask.sql {stored.table('users')}")
    assert planned.status == 1
    assert "\\i is for psql" in planned.stderr
    whole = stored.sh("tb-restore --pgdata whole --sql-before mask.sql 'postgres/*'")
    assert whole.status == 2
    assert "--sql-before" in whole.stderr
