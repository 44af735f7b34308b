"""Rows longer than a message of COPY, of every kind of type, come back as they were."""

import resource

import pytest

from tests.lab.sample import Sample
from tests.postgres.restoring import Restoring, beside, rows, table, view
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.sources.postgres.restoring import long_rows

MEGABYTE = 1 << 20
TYPES = (
    'CREATE SCHEMA "мой"',
    "CREATE TYPE mood AS ENUM ('sad', 'happy')",
    "CREATE TYPE pair AS (one text, two bytea)",
    "CREATE TYPE moody AS (one mood, two text)",
    "CREATE DOMAIN letters AS text NOT NULL CHECK (VALUE <> 'nothing')",
    "CREATE DOMAIN codes AS bytea",
    "CREATE EXTENSION hstore",
    """CREATE TABLE "мой"."таблица" (
         i int GENERATED ALWAYS AS IDENTITY, "б" bytea, t text CHECK (length(t) <> 1), j jsonb,
         v varchar(50000), c char(30000), n numeric, a int[], m mood[], p pair, q moody,
         ps pair[], l letters, d codes, h hstore, b varbit, gone int, twice int GENERATED ALWAYS
         AS (i * 2) STORED)""",
    'ALTER TABLE "мой"."таблица" DROP COLUMN gone',
)
INSERT = r"""
INSERT INTO "мой"."таблица" ("б", t, j, v, c, n, a, m, p, q, ps, l, d, h, b)
SELECT decode(repeat('00ff5c0a', size / 4), 'hex'), repeat(E'ы\\\t\n', size / 5),
       to_jsonb(repeat('"ъ', size / 3)), repeat('v', size), repeat('c', size / 2), size,
       array_fill(size, ARRAY[size / 4]), array_fill('sad'::mood, ARRAY[size / 4]),
       ROW(repeat('"', size), decode('5c', 'hex'))::pair,
       ROW('happy', repeat('ю', size / 2))::moody,
       ARRAY[ROW(repeat('э', size / 2), NULL), ROW(NULL, NULL), NULL]::pair[],
       repeat('l', size), convert_to(repeat('d', size), 'UTF8'), hstore('k', repeat('v', size)),
       repeat('10', size)::varbit
  FROM (VALUES (10), (45000), (20), (30000)) AS sizes (size)
"""
INSERT_MORE = """
INSERT INTO "мой"."таблица" (t, l) VALUES (NULL, ''), (repeat('t', 60000), '')
"""
ENCODED = {"LATIN1": ("ä", r"\xd6"), "EUC_TW": ("永", "永"), "SQL_ASCII": ("a", r"\377")}


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take rows above 50 kB for long ones."""
    monkeypatch.setattr(long_rows, "_LONGEST", 50_000)
    monkeypatch.setattr(long_rows, "_SHORT", 1_000)
    monkeypatch.setattr(long_rows, "_PIECE", 7_000)


@pytest.mark.usefixtures("_short")
def test_values_of_every_kind_come_back_from_long_rows(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    seen = 'CREATE MATERIALIZED VIEW seen AS SELECT * FROM "мой"."таблица"'
    run(live, database, *TYPES, INSERT, INSERT_MORE, seen)
    chain = [taking.take()]

    source, copy = table(database, "таблица", "мой"), table(database, "копия", "мой")
    assert restoring.one(chain, beside(source, level3=copy.level3)).facts["rows"] == 6
    assert rows(live, copy) == rows(live, source)
    order = """SELECT string_agg(i::text, ' ' ORDER BY ctid) FROM "мой"."копия" """
    assert ask(live, database, order) == "1 3 5 2 4 6"  # the long ones last
    left = "SELECT count(*) FROM pg_class WHERE relname ~ 'three_backup'"
    assert ask(live, database, left) == "0"

    source, copy = view(database, "seen"), view(database, "seen2")
    assert restoring.one(chain, beside(source, level3=copy.level3)).facts["rows"] == 6
    assert rows(live, copy) == rows(live, source)


@pytest.mark.usefixtures("_short")
def test_long_rows_whose_checks_run_as_their_owner_come_back(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        database,
        "CREATE ROLE clerk",
        """CREATE FUNCTION fine(t text) RETURNS bool LANGUAGE plpgsql
           AS $$ BEGIN RETURN current_user = 'clerk'; END $$""",
        "ALTER FUNCTION fine OWNER TO clerk",
        "CREATE DOMAIN letters AS text CHECK (public.fine(VALUE))",
        "CREATE TABLE t (i int, l letters[], b bytea, CHECK (fine(i::text)))",
        "ALTER TABLE t OWNER TO clerk",
        "GRANT ALL ON SCHEMA public TO clerk",
        """SET ROLE clerk; INSERT INTO t
           SELECT 1, ARRAY[repeat('l', 60000)], convert_to(repeat('b', 60000), 'UTF8')""",
    )
    try:
        chain, copy = [taking.take()], table(database, "copy")
        restoring.one(chain, beside(table(database, "t"), level3="copy"))
        assert rows(live, copy) == rows(live, table(database, "t"))
    finally:
        run(live, database, "DROP OWNED BY clerk CASCADE", "DROP ROLE clerk")


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("encoding", ENCODED)
def test_long_text_in_other_encodings_comes_back(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8")
    name, text = ENCODED[encoding]
    create = f"CREATE DATABASE other TEMPLATE template0 ENCODING {encoding} LOCALE 'C'"
    run(live, database, f"{create} LOCALE_PROVIDER libc")
    try:
        run(
            live,
            "other",
            f'CREATE TABLE t (place int, "{name}" text, j json)',
            f"INSERT INTO t SELECT i, repeat(E'{text}', 9 * i), to_json(repeat('{name}', i))"
            " FROM generate_series(0, 9000, 9000) i",
        )
        chain, t = [taking.take()], table("other", "t")
        restoring.one(chain, beside(t, level3="copy"))
        assert rows(live, table("other", "copy")) == rows(live, t)
        if encoding != "SQL_ASCII":
            restoring.one(chain, beside(t, level1=database))
            assert rows(live, table(database, "t")) == rows(live, t)
    finally:
        run(live, "postgres", "DROP DATABASE other WITH (FORCE)")


def test_values_that_together_are_more_than_a_gigabyte_come_back_in_little_memory(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    pytestconfig: pytest.Config,
) -> None:
    """A sample does the same with values of 17 MB."""
    size = (550 if Sample.of(pytestconfig).everything else 17) * MEGABYTE
    run(
        live,
        database,
        "CREATE TABLE t (i int, b bytea, t text)",
        f"INSERT INTO t VALUES (1, convert_to(repeat('b', {size}), 'UTF8'), ''), (2, '', '')",
        f"UPDATE t SET t = repeat('ы', {size // 2}) WHERE i = 1",
    )
    chain = [taking.take()]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert restoring.one(chain, beside(table(database, "t"), level3="copy")).facts["rows"] == 2
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 100 * MEGABYTE
    same = "SELECT count(*) FROM t JOIN copy USING (i) WHERE t.b = copy.b AND t.t = copy.t"
    assert ask(live, database, same) == "2"
