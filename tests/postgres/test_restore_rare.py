"""Rare features of old clusters come back too; what does not come back is named."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.postgres.restoring import (
    Restoring,
    beside,
    definitions,
    in_place,
    rows,
    table,
    view,
)
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored

RARE = (
    "CREATE SCHEMA rare",
    "CREATE SCHEMA helpers",
    "CREATE EXTENSION postgres_fdw SCHEMA helpers",
    "CREATE EXTENSION btree_gist SCHEMA helpers",
    'CREATE COLLATION helpers.posix FROM "C"',
    "CREATE TEXT SEARCH CONFIGURATION helpers.words (COPY = simple)",
    """CREATE FUNCTION helpers.joined(text, text) RETURNS text LANGUAGE sql IMMUTABLE
       AS $$ SELECT coalesce($1, '') || $2 $$""",
    "CREATE AGGREGATE helpers.glue (text) (SFUNC = helpers.joined, STYPE = text)",
    "CREATE OPERATOR helpers.<+> (FUNCTION = helpers.joined, LEFTARG = text, RIGHTARG = text)",
    "CREATE TYPE helpers.whole AS RANGE (subtype = int, multirange_type_name = helpers.wholes)",
    "CREATE TYPE helpers.pair AS (a int, b text)",
    "CREATE TABLE rare.template (id int, note text)",
    """CREATE TABLE rare.odd (
         id bigint PRIMARY KEY, word text COLLATE helpers.posix, gone int, ranges helpers.wholes,
         found tsvector GENERATED ALWAYS AS (to_tsvector('helpers.words'::regconfig, word)) STORED,
         CHECK (id > 0) NO INHERIT) WITH (fillfactor = 50, autovacuum_enabled = off)""",
    "ALTER TABLE rare.odd DROP COLUMN gone",
    "ALTER TABLE rare.odd ADD late int NOT NULL DEFAULT 7",
    "ALTER TABLE rare.odd ALTER word SET STORAGE EXTERNAL, ALTER id SET STATISTICS 500",
    "ALTER TABLE rare.odd ALTER word SET COMPRESSION pglz, REPLICA IDENTITY FULL",
    "CREATE RULE quiet AS ON DELETE TO rare.odd WHERE old.id = 1 DO INSTEAD NOTHING",
    """CREATE FUNCTION rare.nothing() RETURNS trigger LANGUAGE plpgsql
       AS $$ BEGIN RETURN NULL; END $$""",
    """CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON rare.odd DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION rare.nothing()""",
    "ALTER TABLE rare.odd DISABLE TRIGGER watch",
    "CREATE UNIQUE INDEX odd_part ON rare.odd (lower(word)) INCLUDE (late) WHERE id < 100",
    "CREATE INDEX odd_hash ON rare.odd USING hash (word)",
    "CREATE INDEX odd_gin ON rare.odd USING gin (found)",
    "CREATE INDEX odd_brin ON rare.odd USING brin (id)",
    "CREATE INDEX odd_gist ON rare.odd USING gist (late helpers.gist_int4_ops)",
    "ALTER TABLE rare.odd CLUSTER ON odd_pkey",
    """INSERT INTO rare.odd (id, word, ranges)
       SELECT i, repeat(md5(i::text), 200), helpers.wholes(helpers.whole(i, i + 2))
         FROM generate_series(1, 60) i""",
    "CREATE TABLE rare.loose (id int, odd bigint, late int)",
    "INSERT INTO rare.loose VALUES (1, 1000, -1)",
    "ALTER TABLE rare.loose ADD FOREIGN KEY (odd) REFERENCES rare.odd NOT VALID",
    "ALTER TABLE rare.loose ADD CHECK (late > 0) NOT VALID",
    """CREATE TABLE rare.tree (id int PRIMARY KEY, odd bigint REFERENCES rare.odd)
       PARTITION BY HASH (id)""",
    *(
        f"CREATE TABLE rare.tree_{n} PARTITION OF rare.tree"
        f" FOR VALUES WITH (MODULUS 3, REMAINDER {n})"
        for n in range(3)
    ),
    "CREATE TABLE rare.leaf (id int PRIMARY KEY, tree int REFERENCES rare.tree)",
    "INSERT INTO rare.tree SELECT i, i FROM generate_series(1, 60) i",
    "INSERT INTO rare.leaf SELECT i, i FROM generate_series(1, 60) i",
    "CREATE TABLE rare.typed OF helpers.pair",
    "INSERT INTO rare.typed VALUES (1, 'one')",
    "CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'nowhere')",
    "CREATE FOREIGN TABLE rare.far (id int, word text) SERVER away OPTIONS (table_name 'x')",
    """CREATE VIEW rare.glued WITH (security_barrier) AS
       SELECT helpers.glue(word ORDER BY id) AS all_words FROM rare.odd""",
    """CREATE VIEW rare.tagged AS SELECT id, left(word, 3) OPERATOR(helpers.<+>) '!' AS t
         FROM rare.odd""",
    """CREATE RECURSIVE VIEW rare.counting (n) AS
       VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5""",
)
RARE_18 = (
    """CREATE TABLE rare.lax (id int PRIMARY KEY, odd bigint REFERENCES rare.odd NOT ENFORCED,
                              twice int GENERATED ALWAYS AS (id * 2) VIRTUAL,
                              late int CHECK (late > 100) NOT ENFORCED)""",
    "INSERT INTO rare.lax (id, odd, late) SELECT i, i + 1000, i FROM generate_series(1, 20) i",
    """CREATE TABLE rare.bookings (room int, at int4range,
                                   PRIMARY KEY (room, at WITHOUT OVERLAPS))""",
    "INSERT INTO rare.bookings SELECT 1, int4range(i, i + 1) FROM generate_series(1, 20) i",
    "ALTER TABLE rare.lax ADD CONSTRAINT named NOT NULL odd",
    "ALTER TABLE rare.loose ADD CONSTRAINT soon NOT NULL id NOT VALID",
)
TABLES = ("template", "odd", "loose", "tree", "leaf", "typed", "far")
VIEWS = ("glued", "tagged", "counting")


def failures(outcomes: Mapping[ObjectId, Restored | BackupError]) -> list[BackupError]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)]


def test_rare_kinds_come_back_equal_into_a_new_database(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, *RARE, *(RARE_18 if old.version >= 18 else ()))
    tables = (*TABLES, "lax", "bookings") if old.version >= 18 else TABLES
    objects = [table(rare, name, "rare") for name in tables]
    objects += [view(rare, name, "rare") for name in VIEWS]
    chain = [taking.take()]

    outcomes = restoring.all(chain, *(beside(object_id, level1="copy") for object_id in objects))

    assert failures(outcomes) == []
    assert definitions(old, "copy") == definitions(old, rare)
    for object_id in objects:
        if object_id.level3 != "far":
            assert rows(old, replace(object_id, level1="copy")) == rows(old, object_id), object_id


def test_a_transaction_that_was_prepared_neither_blocks_nor_comes_back(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, "CREATE TABLE t AS SELECT 1 AS i")
    run(old, rare, "BEGIN", "INSERT INTO t VALUES (2)", "PREPARE TRANSACTION 'it''s'")
    chain = [taking.take()]
    restored = restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    assert restored.facts["rows"] == 1
    (said,) = restoring.said
    assert "rare: transaction it's was prepared, not committed, when" in said
    run(old, rare, "ROLLBACK PREPARED 'it''s'")


def test_large_objects_come_with_the_rows_that_name_them(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    piece = "decode(repeat('0123456789abcdef', 200000), 'hex')"
    run(old, rare, "CREATE EXTENSION lo", "CREATE TABLE t (i int, file lo, other oid)")
    run(
        old,
        rare,
        f"INSERT INTO t SELECT i, lo_from_bytea(0, {piece}) FROM generate_series(1, 3) i",
    )
    run(old, rare, "INSERT INTO t VALUES (4, NULL, lo_from_bytea(0, '')), (5, NULL, 1)")
    content = (
        "SELECT string_agg(md5(lo_get(l.oid)), ' ' ORDER BY l.oid) FROM pg_largeobject_metadata l"
    )
    chain, before = [taking.take()], ask(old, rare, content)
    run(
        old,
        rare,
        "SELECT lo_unlink(l.oid) FROM pg_largeobject_metadata l, t"
        " WHERE t.i > 1 AND l.oid IN (file, other)",
    )
    restored = restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    assert restored.notes == ("large objects that its rows name came with it: 3",)
    assert ask(old, rare, content) == before


def test_large_objects_come_with_the_leaves_of_a_tree(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        old,
        rare,
        "CREATE TABLE t (i int PRIMARY KEY, file oid) PARTITION BY RANGE (i)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (10)",
        "INSERT INTO t VALUES (1, lo_from_bytea(0, 'content'))",
    )
    chain = [taking.take()]
    run(old, rare, "SELECT lo_unlink(file) FROM t", "DROP TABLE t")
    restoring.one(chain, in_place(table(rare, "t")))
    assert ask(old, rare, "SELECT convert_from(lo_get(file), 'UTF8') FROM t") == "content"


def test_types_keep_their_names_where_the_schema_changes(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, "CREATE EXTENSION citext", "CREATE TYPE mood AS ENUM ('ok')")
    run(old, rare, "CREATE TABLE t AS SELECT 'A'::citext AS word, 'ok'::mood AS mood")
    restoring.one([taking.take()], beside(table(rare, "t"), level2="attic"))
    types = "SELECT (pg_typeof(word), pg_typeof(mood)) FROM attic.t"
    assert ask(old, rare, types) == "('citext', 'mood')"


def test_bytes_in_no_encoding_come_back_as_they_were(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, "postgres", "DROP DATABASE rare")
    run(old, "postgres", "CREATE DATABASE rare ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    run(old, rare, r"CREATE TABLE t AS SELECT E'caf\xe9' AS word")
    chain = [taking.take()]
    restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    restoring.one(chain, beside(table(rare, "t"), level1="copy"))
    for database, name in (("rare", "copy"), ("copy", "t")):
        same = rf"SELECT word::bytea = '\x636166e9' FROM {name}"
        assert ask(old, database, same) == "True"


def test_what_a_table_was_surrounded_by_is_said_where_it_is_lost(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, "CREATE TABLE t AS SELECT 1 AS i")
    run(old, rare, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC")
    run(
        old,
        rare,
        "SET allow_system_table_mods = on",
        """INSERT INTO pg_seclabel
           VALUES ('t'::regclass, 'pg_class'::regclass, 1, 'anon', 'MASKED')""",
    )
    chain = [taking.take()]
    restored = restoring.one(chain, in_place(table(rare, "t")), overwrite=True, acl=False)
    label, grants = restored.notes
    assert label.startswith("a security label of anon is not there: ")
    assert grants.startswith('the default grants of schema "public" do not apply to it')


def test_who_may_not_write_there_reads_who_may(
    old: PostgresServer,
    rare: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(old, rare, "CREATE TABLE t AS SELECT 1 AS i", "CREATE ROLE reader LOGIN")
    chain = [taking.take()]
    monkeypatch.setenv("PGUSER", "reader")
    for levels, remedy in (
        ({"level3": "copy"}, 'GRANT CREATE ON DATABASE "rare" TO "reader"'),
        ({"level1": "copy"}, 'ALTER ROLE "reader" CREATEDB'),
    ):
        with pytest.raises(BackupError, match=f'role "reader" may not.*PGUSER.*{remedy}'):
            restoring.one(chain, beside(table(rare, "t"), **levels))
    run(old, rare, 'GRANT CREATE ON DATABASE "rare" TO "reader"')
    with pytest.raises(BackupError, match='GRANT CREATE ON SCHEMA public TO "reader"'):
        restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    run(old, rare, "GRANT CREATE ON SCHEMA public TO reader")
    restoring.one(chain, beside(table(rare, "t"), level3="copy"))
    with pytest.raises(BackupError, match=r"must be owner of table t.*a superuser or its owner"):
        restoring.one(chain, in_place(table(rare, "t")), overwrite=True)
    run(old, rare, "DROP OWNED BY reader")
    run(old, rare, "DROP ROLE reader")


def test_a_role_that_is_missing_is_named_with_its_remedy(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, "CREATE ROLE clerk", "CREATE TABLE t AS SELECT 1 AS i")
    run(old, rare, "CREATE POLICY p ON t TO clerk USING (true)")
    chain = [taking.take()]
    run(old, rare, "DROP POLICY p ON t", "DROP ROLE clerk")
    with pytest.raises(BackupError, match=r'no role "clerk".*; CREATE ROLE "clerk"'):
        restoring.one(chain, beside(table(rare, "t"), level3="copy"))


ODD = "a/b %*\"c' Ы.."


def test_a_database_of_any_name_comes_back_under_any_other(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    names = [f'"{name}"' for name in (ODD.replace('"', '""'), "copy of " + ODD.replace('"', '""'))]
    run(old, "postgres", f"CREATE DATABASE {names[0]}")
    run(old, ODD, "CREATE TABLE t AS SELECT 1 AS i")
    restoring.one([taking.take()], beside(table(ODD, "t"), level1="copy of " + ODD))
    assert ask(old, "copy of " + ODD, "SELECT i FROM t") == "1"
    for name in names:
        run(old, "postgres", f"DROP DATABASE {name}")


def test_a_database_that_is_created_sorts_as_its_model_does(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, "postgres", "DROP DATABASE rare")
    locale = "LOCALE_PROVIDER libc LOCALE 'C.UTF-8' ENCODING UTF8"
    run(old, "postgres", f"CREATE DATABASE rare TEMPLATE template0 {locale}")
    words = "(VALUES ('a10'), ('a9'), ('Z'), ('ä'), ('b')) AS t (w)"
    run(old, rare, f"CREATE TABLE t AS SELECT w FROM {words}", "ALTER TABLE t ADD PRIMARY KEY (w)")
    restoring.one([taking.take()], beside(table(rare, "t"), level1="copy"))
    sorted_words = "SELECT string_agg(w, ' ' ORDER BY w) FROM t"
    assert ask(old, "copy", sorted_words) == ask(old, rare, sorted_words)
    model = "SELECT (datlocprovider, datcollate, datlocale) FROM pg_database WHERE datname = '{}'"
    assert ask(old, rare, model.format("copy")) == ask(old, rare, model.format("rare"))
