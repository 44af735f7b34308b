"""What comes back belongs to whom it belonged, with the grants it had."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.restoring import (
    Restoring,
    beside,
    definitions,
    in_place,
    inhabitants,
    table,
    view,
)
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.jobs import DrillJob
from three_backup.sources.postgres.restoring import drill
from three_backup.sources.postgres.scratch.folder import acting_as
from three_backup.sources.postgres.scratch.server import scratch_user

ROLES = ("clerk", "auditor", 'odd "role"', "group_of_clerks")
OWNED = (
    "CREATE SCHEMA sales AUTHORIZATION clerk",
    "GRANT USAGE ON SCHEMA sales TO auditor",
    "CREATE TYPE sales.mood AS ENUM ('sad', 'happy')",
    "ALTER TYPE sales.mood OWNER TO clerk",
    "REVOKE USAGE ON TYPE sales.mood FROM PUBLIC",
    """CREATE FUNCTION sales.tax(n int) RETURNS int LANGUAGE sql IMMUTABLE SECURITY DEFINER
       RETURN n * 2""",
    "ALTER FUNCTION sales.tax OWNER TO auditor",
    "REVOKE EXECUTE ON FUNCTION sales.tax FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION sales.tax TO clerk WITH GRANT OPTION",
    """CREATE TABLE sales.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial serial,
       feeling sales.mood, price int CHECK (sales.tax(price) > 0)) PARTITION BY RANGE (id)""",
    "CREATE TABLE sales.orders_1 PARTITION OF sales.orders FOR VALUES FROM (0) TO (100)",
    "CREATE INDEX ON sales.orders (sales.tax(price))",
    "CREATE STATISTICS sales.together ON id, price FROM sales.orders",
    "ALTER STATISTICS sales.together OWNER TO clerk",
    "ALTER TABLE sales.orders OWNER TO clerk",
    "ALTER TABLE sales.orders_1 OWNER TO auditor",
    'GRANT SELECT ON sales.orders_1 TO "odd ""role"""',
    "GRANT SELECT, INSERT ON sales.orders TO group_of_clerks WITH GRANT OPTION",
    "GRANT SELECT (id), UPDATE (price) ON sales.orders TO auditor",
    "REVOKE INSERT ON sales.orders_1 FROM auditor",
    "GRANT ALL ON sales.orders_1 TO PUBLIC",
    "REVOKE DELETE ON sales.orders FROM clerk",
    "GRANT USAGE ON SEQUENCE sales.orders_serial_seq TO auditor",
    "INSERT INTO sales.orders (price) SELECT i FROM generate_series(1, 50) i",
    "CREATE VIEW sales.dear AS SELECT * FROM sales.orders WHERE price > 10",
    "ALTER VIEW sales.dear OWNER TO auditor",
    "GRANT SELECT ON sales.dear TO clerk",
)


@pytest.fixture
def sales(live: PostgresServer, database: str) -> Iterator[str]:
    quoted = ['"' + role.replace('"', '""') + '"' for role in ROLES]
    run(live, database, *(f"CREATE ROLE {role}" for role in quoted), *OWNED)
    yield database
    for role in quoted:
        if ask(live, database, f"SELECT to_regrole($${role}$$) IS NOT NULL") == "True":
            run(live, database, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_owners_and_grants_are_what_they_were(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    before = definitions(live, sales)
    chain = [taking.take()]
    run(live, sales, "DROP SCHEMA sales CASCADE")
    wanted = (table(sales, "orders", "sales"), view(sales, "dear", "sales"))
    outcomes = restoring.all(chain, *map(in_place, wanted))
    refused = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, BackupError)]
    assert refused == []
    assert set(definitions(live, sales)) ^ set(before) == set()


HOSTILE = (
    "CREATE TABLE public.witness (who text, was text)",
    "GRANT ALL ON witness TO PUBLIC",
    """CREATE FUNCTION evil(n int) RETURNS int LANGUAGE plpgsql AS $$
       BEGIN
         BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;
         BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
         BEGIN EXECUTE 'SET ROLE postgres'; EXCEPTION WHEN OTHERS THEN NULL; END;
         BEGIN EXECUTE 'ALTER ROLE clerk SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
         BEGIN INSERT INTO public.witness VALUES (current_user, 'called');
         EXCEPTION WHEN OTHERS THEN NULL; END;
         RETURN n;
       END $$""",
    """CREATE FUNCTION sly(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
       BEGIN RETURN public.evil(n); END $$""",
    "ALTER FUNCTION evil OWNER TO clerk",
    "ALTER FUNCTION sly OWNER TO clerk",
)
CARRIERS_OF_CODE = {
    "check": ["CREATE TABLE t (id int CHECK (evil(id) > 0))"],
    "generated": ["CREATE TABLE t (id int, twice int GENERATED ALWAYS AS (sly(id)) STORED)"],
    "default": ["CREATE TABLE t (id int, other int DEFAULT evil(1))"],
    "index": ["CREATE TABLE t (id int)", "CREATE INDEX ON t (sly(id)) WHERE sly(id) > 0"],
    "domain": [
        "CREATE DOMAIN d AS int CHECK (public.evil(VALUE) > 0)",
        "CREATE TYPE pair AS (one d, two d[])",
        "CREATE TABLE t (id d, many d[], pair pair)",
    ],
    "literal": [
        "CREATE DOMAIN d AS int CHECK (public.evil(VALUE) > 0)",
        "CREATE TABLE t (id int, many d[] DEFAULT '{7}')",
        "CREATE INDEX ON t (id) WHERE many <> '{8}'",
    ],
    "materialized view": [
        "CREATE DOMAIN d AS int CHECK (public.evil(VALUE) > 0)",
        "CREATE TABLE src (id d)",
        "INSERT INTO src VALUES (7), (7), (7)",
        "CREATE MATERIALIZED VIEW t AS SELECT id FROM src",
        "ALTER TABLE src OWNER TO clerk",
    ],
    "partition key": [
        "CREATE TABLE t (id int) PARTITION BY RANGE (sly(id))",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100)",
        "ALTER TABLE t_1 OWNER TO clerk",
    ],
    "trigger": [
        """CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM public.evil(1); RETURN NEW; END $$""",
        "CREATE TABLE t (id int)",
        "CREATE TRIGGER evil BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fires()",
    ],
    "rule": ["CREATE TABLE t (id int)", "CREATE RULE r AS ON INSERT TO t DO ALSO SELECT evil(1)"],
    "deferred": [
        "CREATE TABLE later (id int)",
        "ALTER TABLE later OWNER TO clerk",
        """CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM public.evil(1); RETURN NEW; END $$""",
        """CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION at_commit()""",
        """CREATE FUNCTION defer(n int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.later VALUES (n); RETURN true;
           EXCEPTION WHEN OTHERS THEN RETURN true; END $$""",
        "CREATE TABLE t (id int CHECK (defer(id)))",
    ],
    "built-in": [
        "CREATE TABLE t (id int CHECK (set_config('tb.who', current_user, false) <> ''))"
    ],
}


@pytest.mark.parametrize("carrier", CARRIERS_OF_CODE)
def test_no_code_of_an_owner_runs_with_more_rights_than_the_owner_has(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring, carrier: str
) -> None:
    run(live, sales, *HOSTILE, *CARRIERS_OF_CODE[carrier], "ALTER TABLE t OWNER TO clerk")
    kind = table
    if carrier == "materialized view":
        kind = view
    else:
        run(live, sales, "INSERT INTO t (id) SELECT 7 FROM generate_series(1, 3)")
    rows = ask(live, sales, "SELECT string_agg(t::text, '|') FROM t")
    chain = [taking.take()]
    what = "MATERIALIZED VIEW" if kind is view else "TABLE"
    run(live, sales, "ALTER ROLE clerk NOSUPERUSER", "TRUNCATE witness", f"DROP {what} t")
    restoring.one(chain, in_place(kind(sales, "t")))
    assert ask(live, sales, "SELECT string_agg(t::text, '|') FROM t") == rows
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't'"
    assert ask(live, sales, owner) == "clerk"
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness WHERE who <> 'clerk'") == "0"


def test_code_cannot_put_a_view_of_its_own_where_the_restore_reads(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    swap = """CREATE FUNCTION swap(n int) RETURNS bool LANGUAGE plpgsql AS $$
        DECLARE place text;
        BEGIN
          FOR place IN SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ '^three_b'
          LOOP
            BEGIN
              EXECUTE 'ALTER MATERIALIZED VIEW ' || place || '.step RENAME TO aside';
              EXECUTE 'CREATE VIEW ' || place
                      || '.step AS SELECT public.evil(1)::bigint AS number';
            EXCEPTION WHEN OTHERS THEN NULL; END;
          END LOOP;
          RETURN true;
        END $$"""
    run(live, sales, *HOSTILE, swap, "CREATE TABLE t (id int CHECK (public.swap(id)))")
    run(live, sales, "INSERT INTO t VALUES (7)", "ALTER TABLE t OWNER TO clerk")
    chain = [taking.take()]
    run(live, sales, "DROP TABLE t")
    restoring.one(chain, in_place(table(sales, "t")))
    assert ask(live, sales, "SELECT count(*) FROM t") == "1"
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness") == "0"


ALL_GONE = (
    "CREATE SCHEMA lent",
    "GRANT USAGE ON SCHEMA lent TO clerk",
    "CREATE DOMAIN lent.d AS int CHECK (public.evil(VALUE) > 0 AND {})",
    "CREATE FUNCTION lent.g(n lent.d[] DEFAULT '{{7}}') RETURNS int LANGUAGE sql RETURN 7",
    "CREATE TABLE t (id int DEFAULT lent.g(), many lent.d[] DEFAULT '{{8}}')",
    "INSERT INTO t VALUES (1)",
    "ALTER DOMAIN lent.d OWNER TO clerk",
    "ALTER FUNCTION lent.g OWNER TO clerk",
    "ALTER TABLE t OWNER TO clerk",
)
DROPPED = (
    "DROP TABLE t",
    "DROP FUNCTION lent.g",
    "DROP DOMAIN lent.d",
    "ALTER ROLE clerk NOSUPERUSER",
    "TRUNCATE witness",
)


def test_what_is_needed_is_made_as_its_owner_where_literals_run_code(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    checks = "lo_create(0) IS NOT NULL"
    run(live, sales, *HOSTILE, *(statement.format(checks) for statement in ALL_GONE))
    rows = ask(live, sales, "SELECT t::text FROM t")
    chain = [taking.take()]
    run(live, sales, *DROPPED, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    (note,) = restoring.one(chain, in_place(table(sales, "t"))).notes
    assert note.startswith("it needed what was not there, now created: ")
    assert ask(live, sales, "SELECT t::text FROM t") == rows
    assert ask(live, sales, "SELECT count(*) > 0 FROM pg_largeobject_metadata") == "True"
    owners = "SELECT DISTINCT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
    assert ask(live, sales, owners) == "clerk"
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness WHERE who <> 'clerk'") == "0"
    assert ask(live, sales, "SELECT has_schema_privilege('clerk', 'lent', 'CREATE')") == "False"


PLANTS = {
    "a function where it may not create": (
        "CREATE OR REPLACE FUNCTION lent.planted() RETURNS int LANGUAGE sql RETURN 1;"
    ),
    "a view in the place of the table": """
        EXECUTE format('ALTER TABLE %I.t RENAME TO aside', stage);
        EXECUTE format('CREATE VIEW %I.t AS SELECT 1 AS id', stage);""",
}


@pytest.mark.parametrize("plant", PLANTS)
def test_what_code_of_an_owner_plants_meanwhile_is_refused(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring, plant: str
) -> None:
    planting = f"""CREATE FUNCTION planting() RETURNS bool LANGUAGE plpgsql AS $$
        DECLARE stage text;
        BEGIN
          SELECT relnamespace::regnamespace INTO stage FROM pg_class
           WHERE relname = 't' AND relnamespace <> 'public'::regnamespace;
          {PLANTS[plant]}
          RETURN true;
        EXCEPTION WHEN OTHERS THEN RETURN true;
        END $$"""
    run(live, sales, *HOSTILE, "CREATE SCHEMA lent", planting)
    run(live, sales, *(one.format("public.planting()") for one in ALL_GONE[1:]))
    if plant.startswith("a view"):
        run(live, sales, "ALTER TABLE t ADD late lent.d[] DEFAULT '{9}'")
    run(live, sales, "DROP FUNCTION IF EXISTS lent.planted")
    chain = [taking.take()]
    run(live, sales, *DROPPED)
    before = inhabitants(live, sales)
    with pytest.raises(BackupError) as raised:
        restoring.one(chain, in_place(table(sales, "t")))
    assert raised.value.code == "postgres.tampered"
    assert inhabitants(live, sales) == before


def test_code_that_a_live_domain_has_got_since_runs_as_its_owner(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, sales, *HOSTILE, "CREATE DOMAIN d AS int", "CREATE TABLE t (id d)")
    run(live, sales, "INSERT INTO t VALUES (7)", "ALTER TABLE t OWNER TO clerk")
    chain = [taking.take()]
    run(live, sales, "ALTER DOMAIN d ADD CHECK (public.evil(VALUE) > 0) NOT VALID")
    restoring.one(chain, beside(table(sales, "t"), level3="copy"))
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT DISTINCT who FROM witness") == "clerk"


def test_a_right_that_an_owner_has_lost_is_named(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, sales, *HOSTILE, *(statement.format("true") for statement in ALL_GONE))
    chain = [taking.take()]
    run(live, sales, "DROP TABLE t", "REVOKE USAGE ON SCHEMA lent FROM clerk", DROPPED[-2])
    with pytest.raises(BackupError) as raised:
        restoring.one(chain, in_place(table(sales, "t")))
    assert raised.value.code == "postgres.owner_may_not"
    assert "permission denied for schema lent" in raised.value.message
    assert restoring.one(chain, in_place(table(sales, "t")), owner=False).facts["rows"] == 1


CASTS = (
    "CREATE TYPE boxed AS (n int, fill text)",
    """CREATE FUNCTION unboxed(boxed) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
       $$ BEGIN PERFORM public.evil(1); RETURN $1.n; END $$""",
    """CREATE FUNCTION told(boxed) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
       $$ BEGIN PERFORM public.evil(1); RETURN format('%s', $1); END $$""",
    """CREATE FUNCTION heard(text) RETURNS boxed LANGUAGE plpgsql IMMUTABLE AS
       $$ BEGIN PERFORM public.evil(1); RETURN ROW(7, 'heard'); END $$""",
    "CREATE CAST (boxed AS int) WITH FUNCTION unboxed AS IMPLICIT",
    "CREATE CAST (boxed AS text) WITH FUNCTION told",
    "CREATE CAST (text AS boxed) WITH FUNCTION heard",
    "CREATE TABLE pk (id int PRIMARY KEY)",
    "INSERT INTO pk VALUES (7)",
    "CREATE TABLE t (b boxed REFERENCES pk)",
    "INSERT INTO t VALUES (ROW(7, repeat('x', {})))",
    *(f"ALTER TYPE {name} OWNER TO clerk" for name in ("boxed",)),
    *(f"ALTER FUNCTION {name} OWNER TO clerk" for name in ("unboxed", "told", "heard")),
    "ALTER TABLE pk OWNER TO clerk",
    "ALTER TABLE t OWNER TO clerk",
)


@pytest.mark.parametrize("length", [1, 17 << 20], ids=["short", "long"])
def test_casts_of_an_owner_run_with_no_more_rights(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring, length: int
) -> None:
    run(live, sales, *HOSTILE, *CASTS[:-7], CASTS[-7].format(length), *CASTS[-6:])
    content = "SELECT md5(format('%s', t.b)) FROM t"
    rows = ask(live, sales, content)
    chain = [taking.take()]
    run(live, sales, "ALTER ROLE clerk NOSUPERUSER", "TRUNCATE witness", "DROP TABLE t")
    assert restoring.one(chain, in_place(table(sales, "t"))).notes == ()
    assert ask(live, sales, content) == rows
    keys = "SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f'"
    assert ask(live, sales, keys) == "1"
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness WHERE who <> 'clerk'") == "0"


def test_functions_of_a_superuser_find_nothing_that_others_may_have_planted(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        sales,
        *HOSTILE,
        "CREATE SCHEMA tools",
        "CREATE FUNCTION tools.helper(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN true",
        """CREATE FUNCTION tools.checks(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
           $$ BEGIN RETURN helper($1); END $$""",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        f"ALTER DATABASE {sales} SET search_path = public, tools",
        "SET search_path = public, tools",
        "CREATE TABLE t (word text CHECK (tools.checks(word)))",
        "INSERT INTO t VALUES ('a')",
    )
    chain = [taking.take()]
    run(
        live,
        sales,
        "SET ROLE clerk",
        """CREATE FUNCTION public.helper(text) RETURNS bool LANGUAGE plpgsql AS
           $$ BEGIN PERFORM public.evil(1); RETURN true; END $$""",
    )
    restored = restoring.one(chain, beside(table(sales, "t"), level3="copy"))
    assert restored.facts["rows"] == 1
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness") == "0"


def test_what_a_body_only_names_brings_back_no_rights_of_others(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        sales,
        "CREATE FUNCTION weak() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1",
        """CREATE FUNCTION mine(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
           $$ BEGIN RETURN public.weak(); END $$""",
        "CREATE TABLE t (id int DEFAULT mine(1))",
        "ALTER FUNCTION mine OWNER TO clerk",
        "ALTER TABLE t OWNER TO clerk",
    )
    chain = [taking.take()]
    run(live, sales, "DROP TABLE t", "DROP FUNCTION mine", "DROP FUNCTION weak")
    restoring.one(chain, in_place(table(sales, "t")))
    assert ask(live, sales, "SELECT to_regproc('public.weak') IS NULL") == "True"


def test_a_role_that_is_gone_is_named_and_the_rest_comes_back(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, "CREATE ROLE goner", "CREATE ROLE reader")
    run(live, database, "CREATE TABLE t AS SELECT 1 AS id", "ALTER TABLE t OWNER TO goner")
    run(live, database, "GRANT SELECT ON t TO reader", "GRANT INSERT ON t TO PUBLIC")
    chain = [taking.take()]
    run(
        live, database, *("DROP OWNED BY goner", "DROP OWNED BY reader", "DROP ROLE goner, reader")
    )
    notes = restoring.one(chain, in_place(table(database, "t"))).notes
    assert notes == (
        'there is no role "goner" here: it belongs to "postgres" now',
        'there is no role "reader" here: it had SELECT',
    )
    assert ask(live, database, "SELECT relacl::text FROM pg_class WHERE relname = 't'") == (
        "{postgres=arwdDxtm/postgres,=a/postgres}"
    )


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("v", ("CREATE VIEW v AS SELECT 1 AS id",)),
        (
            "t",
            (
                "CREATE FUNCTION sd() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1",
                "ALTER FUNCTION sd OWNER TO goner",
                "CREATE TABLE t (id int DEFAULT sd())",
            ),
        ),
        (
            "t",
            (
                "CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n",
                "CREATE TABLE t (id int)",
                "CREATE INDEX ON t (f(id))",
                "ALTER TABLE t OWNER TO goner",
            ),
        ),
        (
            "t",
            (
                "CREATE TABLE t (id int CHECK (pg_sleep(0) IS NOT NULL))",
                "ALTER TABLE t OWNER TO goner",
            ),
        ),
    ],
    ids=["view", "definer", "index", "built-in"],
)
def test_code_of_a_role_that_is_gone_becomes_nobodys_unless_told(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    name: str,
    code: tuple[str, ...],
) -> None:
    run(live, database, "CREATE ROLE goner", *code)
    if name == "v":
        run(live, database, "ALTER VIEW v OWNER TO goner")
    chain = [taking.take()]
    run(live, database, "DROP OWNED BY goner CASCADE", "DROP TABLE IF EXISTS t", "DROP ROLE goner")
    wanted = in_place((view if name == "v" else table)(database, name))
    with pytest.raises(BackupError, match='runs code with the rights of its owner "goner"'):
        restoring.one(chain, wanted)
    assert "goner" not in " ".join(restoring.one(chain, wanted, owner=False).notes)


def test_what_is_replaced_keeps_the_grants_that_it_has_got_since(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    run(live, sales, "GRANT DELETE ON sales.orders TO auditor WITH GRANT OPTION")
    run(live, sales, "CREATE ROLE newcomer", "GRANT TRUNCATE ON sales.orders_1 TO newcomer")
    run(live, sales, "DROP VIEW sales.dear")
    before = definitions(live, sales)
    restoring.one(chain, in_place(table(sales, "orders", "sales")), overwrite=True)
    after = definitions(live, sales)
    run(live, sales, "DROP OWNED BY newcomer", "DROP ROLE newcomer")
    assert set(after) ^ set(before) == set()


def test_without_owners_and_grants_it_belongs_to_who_restores(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    wanted = beside(table(sales, "orders", "sales"), level3="copy")
    restoring.one(chain, wanted, owner=False, acl=False)
    found = "SELECT tableowner FROM pg_tables WHERE tablename = 'copy'"
    assert ask(live, sales, found) == "postgres"
    assert ask(live, sales, "SELECT relacl FROM pg_class WHERE relname = 'copy'") == "None"


def test_default_grants_of_the_target_are_not_added(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    before = definitions(live, sales)
    chain = [taking.take()]
    run(live, sales, "DROP VIEW sales.dear")
    run(live, sales, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC")
    restoring.one(chain, in_place(view(sales, "dear", "sales")))
    run(live, sales, "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC")
    assert set(definitions(live, sales)) ^ set(before) == set()


def test_a_partition_joins_a_parent_whose_key_runs_code_as_that_owner(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, sales, *HOSTILE, *CARRIERS_OF_CODE["partition key"], "ALTER TABLE t OWNER TO clerk")
    run(live, sales, "INSERT INTO t (id) SELECT 7 FROM generate_series(1, 3)")
    chain = [taking.take()]
    run(live, sales, "ALTER ROLE clerk NOSUPERUSER", "TRUNCATE witness", "DROP TABLE t_1")
    assert restoring.one(chain, in_place(table(sales, "t_1"))).notes == ()
    assert ask(live, sales, "SELECT count(*) FROM t") == "3"
    assert ask(live, sales, "SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'") == "False"
    assert ask(live, sales, "SELECT count(*) FROM witness WHERE who <> 'clerk'") == "0"


def test_functions_that_name_others_without_their_schema_find_them(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        sales,
        "CREATE SCHEMA words",
        "GRANT USAGE ON SCHEMA words TO clerk",
        "CREATE TABLE words.dict (word text)",
        "INSERT INTO words.dict VALUES ('yes')",
        "GRANT SELECT ON words.dict TO clerk",
        """CREATE FUNCTION known(w text) RETURNS bool LANGUAGE plpgsql AS
           $$ BEGIN RETURN EXISTS (SELECT FROM dict WHERE word = w); END $$""",
        "ALTER ROLE clerk SET search_path = words, public",
        "SET search_path = words, public",
    )
    statements = (
        "SET search_path = words, public",
        "CREATE TABLE public.t (w text CHECK (known(w)))",
    )
    run(live, sales, "; ".join((*statements, "INSERT INTO public.t VALUES ('yes')")))
    run(live, sales, "ALTER TABLE public.t OWNER TO clerk")
    chain = [taking.take()]
    run(live, sales, "DROP TABLE public.t")
    restoring.one(chain, in_place(table(sales, "t")))
    assert ask(live, sales, "SELECT w FROM public.t") == "yes"


def test_large_objects_belong_to_whom_they_belonged(
    live: PostgresServer, sales: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        sales,
        "SELECT lo_create(4711)",
        "ALTER LARGE OBJECT 4711 OWNER TO clerk",
        "GRANT SELECT ON LARGE OBJECT 4711 TO auditor",
        "CREATE TABLE pictures AS SELECT 4711::oid AS picture",
    )
    owned = "SELECT lomowner::regrole || ' ' || lomacl::text FROM pg_largeobject_metadata"
    before = ask(live, sales, owned)
    chain = [taking.take()]
    run(live, sales, "DROP TABLE pictures", "SELECT lo_unlink(4711)")
    restoring.one(chain, in_place(table(sales, "pictures")))
    assert ask(live, sales, owned) == before


def test_a_drill_of_an_index_that_never_ends_is_given_up_and_named(
    live: PostgresServer,
    sales: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(
        live,
        sales,
        """CREATE FUNCTION lurk(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
           BEGIN
             IF current_setting('event_triggers') = 'off' THEN PERFORM pg_sleep(3600); END IF;
             RETURN n;
           END $$""",
        "CREATE TABLE t AS SELECT 1 AS id",
        "CREATE INDEX lurking ON t (lurk(id))",
        "ALTER TABLE t OWNER TO clerk",
    )
    chain = [taking.take()]
    monkeypatch.setattr(drill, "LEAST_SECONDS", 1)
    wanted = table(sales, "t")
    job = restoring.job(chain, in_place(wanted))
    ((_, outcome),) = drill.drill(
        DrillJob(
            objects=[each for each in chain[0].manifest.objects if each.id == wanted],
            chain=chain,
            content=False,
            name="test",
            source_settings=job.source_settings,
            work_dir=job.work_dir,
            advance=job.advance,
            say=job.say,
        )
    )
    assert isinstance(outcome, BackupError)
    assert outcome.message.startswith(f"{wanted}: index public.lurking could not be checked")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lets another user run the server")
def test_root_follows_no_link_that_the_user_of_the_server_plants_meanwhile(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    tmp_path: Path,
) -> None:
    run(live, database, "CREATE TABLE t AS SELECT 1 AS id")
    chain = [taking.take()]
    precious, user = tmp_path / "precious", scratch_user(None)
    precious.mkdir(mode=0o755)
    planted: list[Path] = []

    def plant(_: int) -> None:
        for folder in restoring.folder.glob("*/pgdata/global"):
            if not planted:
                with acting_as(user):
                    folder.rename(folder.with_name("aside"))
                    folder.symlink_to(precious)
                planted.append(folder)

    with pytest.raises(BackupError):
        restoring.one(chain, beside(table(database, "t"), level3="copy"), advance=plant)
    assert planted
    assert list(precious.iterdir()) == []
