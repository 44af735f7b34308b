"""Objects that need one another come back, together and in place, whatever their names hang on."""

from collections.abc import Mapping, Sequence
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

CIRCLES: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "policies": (
        (
            "CREATE TABLE teams (id int PRIMARY KEY, secret text)",
            "CREATE TABLE members (team int REFERENCES teams, who text)",
            "CREATE POLICY p ON teams USING (id IN (SELECT team FROM members WHERE who = 'me'))",
            "CREATE POLICY p ON members USING (team IN (SELECT id FROM teams WHERE secret > ''))",
            "ALTER TABLE teams ENABLE ROW LEVEL SECURITY",
            "INSERT INTO teams VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO members VALUES (1, 'me'), (2, 'you')",
        ),
        ("teams", "members"),
    ),
    "rules": (
        (
            "CREATE TABLE a (id int)",
            "CREATE TABLE b (id int)",
            "CREATE RULE r AS ON DELETE TO a DO ALSO DELETE FROM b WHERE id = old.id",
            "CREATE RULE r AS ON UPDATE TO b DO ALSO UPDATE a SET id = new.id WHERE id = old.id",
            "INSERT INTO a SELECT generate_series(1, 9)",
            "INSERT INTO b SELECT generate_series(1, 5)",
        ),
        ("a", "b"),
    ),
    "a default that reads its own table": (
        (
            "CREATE TABLE counted (id int PRIMARY KEY, note text)",
            """CREATE FUNCTION next_one() RETURNS int LANGUAGE sql
               BEGIN ATOMIC SELECT coalesce(max(id), 0) + 1 FROM counted; END""",
            "COMMENT ON FUNCTION next_one() IS 'the next'",
            "ALTER TABLE counted ALTER id SET DEFAULT next_one()",
            "INSERT INTO counted (note) VALUES ('first')",
            "INSERT INTO counted (note) VALUES ('second')",
        ),
        ("counted",),
    ),
    "a row type": (
        (
            "CREATE TABLE people (id int, name text)",
            """CREATE FUNCTION label(people) RETURNS text IMMUTABLE LANGUAGE sql
               AS $$ SELECT $1.id || ': ' || $1.name $$""",
            "CREATE INDEX people_label ON people (label(people.*))",
            "CREATE VIEW labels AS SELECT label(people.*) AS label FROM people",
            "ALTER TABLE people ADD CHECK (label(people.*) > '')",
            "CREATE TABLE history (was people, at int)",
            "INSERT INTO people VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO history SELECT people, 7 FROM people",
        ),
        ("people", "history", "labels"),
    ),
    "a table between": (
        (
            "CREATE TABLE low (id int)",
            """CREATE FUNCTION low_max() RETURNS int LANGUAGE sql
               BEGIN ATOMIC SELECT max(id) FROM low; END""",
            "CREATE TABLE high (id int DEFAULT low_max())",
            "CREATE VIEW both_of AS SELECT low.id FROM low, high",
            "CREATE POLICY p ON low USING (id IN (SELECT id FROM both_of))",
            "INSERT INTO low VALUES (3)",
            "INSERT INTO high DEFAULT VALUES",
        ),
        ("low", "high", "both_of"),
    ),
}
VIEWS = ("labels", "both_of")


def an_object(database: str, name: str) -> ObjectId:
    return (view if name in VIEWS else table)(database, name)


def refusals(outcomes: Mapping[ObjectId, Restored | BackupError]) -> list[str]:
    return [str(outcome) for outcome in outcomes.values() if isinstance(outcome, BackupError)]


@pytest.mark.parametrize("circle", CIRCLES)
def test_what_needs_one_another_comes_back(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring, circle: str
) -> None:
    statements, names, copy = *CIRCLES[circle], f"copy_of_{database}"
    run(live, database, *statements)
    objects = [an_object(database, name) for name in names]
    before, content = definitions(live, database), [rows(live, one) for one in objects]
    chain = [taking.take()]

    copied = restoring.all(chain, *(beside(one, level1=copy) for one in objects))
    assert refusals(copied) == []
    assert definitions(live, copy) == before
    assert [rows(live, one) for one in (an_object(copy, name) for name in names)] == content
    run(live, database, f"DROP DATABASE {copy}")

    run(live, database, *(f"DROP TABLE IF EXISTS {n} CASCADE" for n in names if n not in VIEWS))
    replaced = restoring.all(chain, *map(in_place, objects))
    assert refusals(replaced) == []
    assert [rows(live, one) for one in objects] == content
    assert sorted(definitions(live, database)) == sorted(before)


def test_a_copy_beside_takes_the_functions_over_its_row_type_along(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *CIRCLES["a row type"][0])
    chain = [taking.take()]
    restored = restoring.one(chain, beside(table(database, "people"), level3="people_copy"))
    assert (
        "it needed what was not there, now created: function public.label(public.people_copy)"
        in restored.notes
    )
    assert (
        ask(live, database, "SELECT string_agg(label(p.*), ',') FROM people_copy p")
        == "1: one,2: two"
    )


UNQUALIFIED = (
    "CREATE TABLE dict (word text)",
    "INSERT INTO dict VALUES ('yes'), ('no')",
    """CREATE FUNCTION known(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
       BEGIN RETURN EXISTS (SELECT FROM dict WHERE word = $1); END $$""",
    """CREATE FUNCTION helper(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
       $$ BEGIN RETURN upper($1); END $$""",
    """CREATE FUNCTION loud(text) RETURNS text LANGUAGE sql IMMUTABLE AS
       $$ SELECT helper($1) || '!' $$""",
    "CREATE DOMAIN a_word AS text CHECK (known(VALUE))",
    """CREATE TABLE said (id int, word a_word, plain text CHECK (known(plain)),
         shouted text GENERATED ALWAYS AS (loud(plain)) STORED)""",
    "CREATE VIEW heard AS SELECT loud(plain) AS it FROM said",
    "CREATE MATERIALIZED VIEW kept AS SELECT plain, word FROM said",
    """CREATE FUNCTION louder(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
       $$ BEGIN RETURN helper($1); END $$""",
    "CREATE INDEX said_louder ON said (louder(word))",
    "INSERT INTO said (id, word, plain) VALUES (1, 'yes', 'no'), (2, 'no', 'yes')",
)


@pytest.mark.parametrize("owner", ["postgres", "clerk"])
def test_functions_find_what_they_name_without_a_schema(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring, owner: str
) -> None:
    if owner != "postgres":
        run(live, database, f"CREATE ROLE {owner}", f"GRANT ALL ON SCHEMA public TO {owner}")
    try:
        run(live, database, f"SET ROLE {owner}", *UNQUALIFIED)
        chain = [taking.take()]
        before, content = definitions(live, database), rows(live, table(database, "said"))
        objects = [table(database, "dict"), table(database, "said")]
        objects += [view(database, "heard"), view(database, "kept")]
        run(live, database, "DROP TABLE said CASCADE")
        outcomes = restoring.all(chain, *map(in_place, objects[1:]))
        assert refusals(outcomes) == []
        assert rows(live, table(database, "said")) == content
        assert sorted(definitions(live, database)) == sorted(before)
    finally:
        if owner != "postgres":
            run(live, database, f"DROP OWNED BY {owner} CASCADE", f"DROP ROLE {owner}")


PARTITIONED = (
    "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (1) TO (10)",
    "CREATE TABLE p2 PARTITION OF parts FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE referring (part int REFERENCES parts)",
    "INSERT INTO parts SELECT generate_series(1, 19)",
    "INSERT INTO referring SELECT generate_series(1, 19)",
)


def test_a_partition_comes_back_alone_though_its_parent_is_referred_to(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *PARTITIONED)
    chain = [taking.take()]
    wanted = (
        beside(table(database, "p1"), level3="p1_copy"),
        beside(table(database, "referring"), level3="referring_copy"),
    )
    outcomes = restoring.all(chain, *wanted)
    assert refusals(outcomes) == []
    assert ask(live, database, "SELECT sum(id) FROM p1_copy") == "45"
    keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{}'::regclass"
    assert ask(
        live, database, keys.format("referring_copy") + " AND contype = 'f' AND conparentid = 0"
    ) == ("FOREIGN KEY (part) REFERENCES parts(id)")


NAMES = """SELECT string_agg(concat_ws(' ', id, c, t, f, fs, r, n, w, many, kept), ';' ORDER BY id)
             FROM naming"""
NAMING = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'happy')",
    "CREATE TABLE app.other (id int)",
    "CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'",
    "CREATE TEXT SEARCH CONFIGURATION app.words (COPY = simple)",
    "CREATE DOMAIN kept_class AS regclass",
    """CREATE TABLE naming (id int, c regclass, t regtype, f regproc, fs regprocedure, r regrole,
         n regnamespace, w regconfig, many regclass[], kept kept_class, plain oid)""",
    """INSERT INTO naming VALUES
         (1, 'naming', 'naming', 'app.twice', 'app.twice(int)', 'postgres', 'app', 'app.words',
          '{naming,app.other,naming}', 'naming', 'naming'::regclass),
         (2, 'app.other', 'app.mood[]', 'pg_catalog.now', 'abs(int)', 'postgres', 'public',
          'simple', '{}', 'app.other', 0),
         (3, NULL, 'naming[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
         (4, 'pg_class', 'int', '-', '-', '-', '-', '-', '{NULL,pg_class}', '-', NULL)""",
)


def test_values_that_name_objects_name_the_same_afterwards(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(live, database, *NAMING)
    before, copy = ask(live, database, NAMES), f"copy_of_{database}"
    chain = [taking.take()]
    objects = [table(database, "naming"), table(database, "other", "app")]

    run(live, database, "INSERT INTO naming (id) VALUES (5)")
    assert restoring.one(chain, in_place(objects[0]), overwrite=True).notes == ()
    assert ask(live, database, NAMES) == before

    copied = restoring.all(chain, *(beside(one, level1=copy) for one in objects))
    assert refusals(copied) == []
    told = " ".join(
        note for one in copied.values() if isinstance(one, Restored) for note in one.notes
    )
    for gone in ("app.twice", "app.words", "app.mood[]"):
        assert f"there is no {gone}" in told
    expected = before.replace("app.twice(integer)", "-").replace("app.twice", "-")
    assert ask(live, copy, NAMES) == expected.replace("app.words", "-").replace("app.mood[]", "-")
    run(live, database, f"DROP DATABASE {copy}")


OPERATORS = (
    """CREATE FUNCTION part_hash(value int, seed int8) RETURNS int8 IMMUTABLE STRICT LANGUAGE sql
       AS 'SELECT value + seed'""",
    """CREATE OPERATOR CLASS part_ops FOR TYPE int USING hash
       AS OPERATOR 1 =, FUNCTION 2 part_hash(int, int8)""",
    "CREATE TABLE hashed (a int, b text) PARTITION BY HASH (a part_ops)",
    "CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE hashed_2 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "INSERT INTO hashed SELECT i, 'x' FROM generate_series(1, 10) i",
)
CALLING = (
    """CREATE FUNCTION "In ner"(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
       AS $$ BEGIN RETURN upper($1); END $$""",
    """CREATE FUNCTION outer_fn(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
       AS $$ BEGIN RETURN public."In ner" ($1); END $$""",
    "CREATE TABLE slots (name text)",
    "CREATE INDEX ON slots (outer_fn(name))",
    "INSERT INTO slots VALUES ('a')",
    "CREATE VIEW slot_names AS SELECT outer_fn(name) AS name FROM slots",
)


@pytest.mark.parametrize(
    ("statements", "names"), [(OPERATORS, ("hashed",)), (CALLING, ("slots", "slot_names"))]
)
def test_what_functions_and_operator_classes_call_comes_along(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    statements: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    run(live, database, *statements)
    copy = f"copy_of_{database}"
    objects = [(view if name == "slot_names" else table)(database, name) for name in names]
    chain = [taking.take()]
    outcomes = restoring.all(chain, *(beside(one, level1=copy) for one in objects))
    assert refusals(outcomes) == []
    assert definitions(live, copy) == definitions(live, database)
    for one in objects:
        assert rows(live, replace(one, level1=copy)) == rows(live, one)
    run(live, database, f"DROP DATABASE {copy}")


def test_rows_come_back_though_an_index_cannot(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    made = "CREATE OR REPLACE FUNCTION code(text) RETURNS text IMMUTABLE LANGUAGE sql AS "
    run(
        live,
        database,
        f"{made} 'SELECT $1'",
        "CREATE TABLE t (id int PRIMARY KEY, word text)",
        "CREATE UNIQUE INDEX codes ON t (code(word))",
        "CREATE INDEX words ON t (word)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )
    chain = [taking.take()]
    run(live, database, "DROP TABLE t", f"{made} $$ SELECT 'x' $$")
    restored = restoring.one(chain, in_place(table(database, "t")))
    assert restored.facts["rows"] == 2
    assert restored.notes == (
        'the index codes is not there: could not create unique index "codes"',
    )
    indexes = "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes"
    assert ask(live, database, f"{indexes} WHERE tablename = 't'") == "t_pkey words"
