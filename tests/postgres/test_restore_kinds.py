"""Rare kinds of tables come back as they were, into another database and in place."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from tests.postgres.restoring import Restoring, beside, definitions, in_place, rows, table, view
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId


class Kind(NamedTuple):
    statements: Sequence[str]
    tables: Sequence[str]
    views: Sequence[str] = ()
    foreign: Sequence[str] = ()  # tables whose rows nobody can read


OWNERS = Kind(
    (
        "CREATE TYPE span AS RANGE (subtype = int)",
        "CREATE DOMAIN mood AS text CHECK (value > '')",
        "CREATE FUNCTION label(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1::text'",
        "CREATE SEQUENCE numbers",
        "CREATE SCHEMA apart AUTHORIZATION pg_monitor",
        """CREATE TABLE apart.watched (id int DEFAULT nextval('numbers'), during span, feels mood,
             CHECK (label(id) > ''))""",
        "CREATE STATISTICS apart.related ON id, feels FROM apart.watched",
        "INSERT INTO apart.watched (during, feels) VALUES ('[1,2)', 'well'), ('[3,4)', 'so so')",
        "CREATE VIEW apart.seen AS SELECT label(id) AS id FROM apart.watched",
        "ALTER TYPE span OWNER TO pg_read_all_data",
        "ALTER DOMAIN mood OWNER TO pg_monitor",
        "ALTER FUNCTION label OWNER TO pg_database_owner",
        "ALTER SEQUENCE numbers OWNER TO pg_monitor",
        "ALTER TABLE apart.watched OWNER TO pg_monitor",
        "ALTER STATISTICS apart.related OWNER TO pg_monitor",
        "ALTER VIEW apart.seen OWNER TO pg_database_owner",
        "GRANT USAGE ON SCHEMA apart TO pg_database_owner",
        "GRANT SELECT ON apart.watched TO pg_database_owner, pg_read_all_stats",
    ),
    ("apart.watched",),
    ("apart.seen",),
)
KINDS: Mapping[str, Kind] = {
    "owned by predefined roles": OWNERS,
    "owned by whoever owns the database": Kind(
        (
            "CREATE TABLE own (id int)",
            "INSERT INTO own VALUES (1)",
            "ALTER TABLE own OWNER TO pg_database_owner",
        ),
        ("own",),
    ),
    "named like an array type": Kind(
        (
            "CREATE TABLE people (id int)",
            "CREATE TABLE others (id int)",
            "ALTER TABLE others RENAME TO _people",
            "CREATE VIEW __people AS SELECT id FROM people",
            "INSERT INTO people VALUES (1)",
            "INSERT INTO _people VALUES (2)",
        ),
        ("people", "_people"),
        ("__people",),
    ),
    "statistics named like their table": Kind(
        (
            "CREATE TABLE twin (a int, b int)",
            "CREATE DOMAIN int_list AS int[]",
            "CREATE TABLE other (a int, b int_list)",
            "CREATE STATISTICS twin ON a, b FROM twin",
            "CREATE STATISTICS int_list ON a, b FROM other",
            "INSERT INTO twin VALUES (1, 2)",
        ),
        ("twin", "other"),
    ),
    "statistics in another schema": Kind(
        (
            "CREATE SCHEMA n1",
            "CREATE SCHEMA n2",
            "CREATE TABLE n1.first (a int, b int)",
            "CREATE TABLE n1.second (a int, b int)",
            "CREATE STATISTICS n2.s ON a, b FROM n1.first",
            "CREATE STATISTICS n1.s ON a, b FROM n1.second",
            "INSERT INTO n1.first VALUES (1, 2)",
        ),
        ("n1.first", "n1.second"),
    ),
    "grants given on": Kind(
        (
            "CREATE SCHEMA closed",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE closed.given (id int DEFAULT f(), name text, n serial)",
            "INSERT INTO closed.given VALUES (1, 'one', 1)",
            "GRANT USAGE ON SCHEMA closed TO third WITH GRANT OPTION",
            "GRANT USAGE ON SCHEMA closed TO second",
            "GRANT SELECT, INSERT ON closed.given TO third WITH GRANT OPTION",
            "GRANT UPDATE (name) ON closed.given TO third WITH GRANT OPTION",
            "GRANT USAGE ON SEQUENCE closed.given_n_seq TO third WITH GRANT OPTION",
            "GRANT EXECUTE ON FUNCTION f TO third WITH GRANT OPTION",
            "SET ROLE third",
            "GRANT USAGE ON SCHEMA closed TO giver WITH GRANT OPTION",
            "GRANT SELECT ON closed.given TO giver WITH GRANT OPTION",
            "GRANT UPDATE (name) ON closed.given TO giver",
            "GRANT USAGE ON SEQUENCE closed.given_n_seq TO giver",
            "GRANT EXECUTE ON FUNCTION f TO giver",
            "SET ROLE giver",
            "GRANT SELECT ON closed.given TO second WITH GRANT OPTION",
            "SET ROLE second",
            "GRANT SELECT ON closed.given TO PUBLIC",
            "RESET ROLE",
            "GRANT SELECT ON closed.given TO second",
            "REVOKE USAGE ON SCHEMA closed FROM second",
        ),
        ("closed.given",),
    ),
    "comments": Kind(
        (
            "CREATE SCHEMA apart",
            "CREATE SCHEMA needed",
            "CREATE DOMAIN d AS int CHECK (VALUE > 0)",
            "CREATE TYPE e AS ENUM ('x')",
            "CREATE TYPE c AS (one int, two text)",
            "CREATE TYPE r AS RANGE (subtype = int)",
            "CREATE FUNCTION needed.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
            "CREATE SEQUENCE s",
            "CREATE COLLATION k (locale = 'C')",
            "CREATE FOREIGN DATA WRAPPER dummy",
            "CREATE SERVER far FOREIGN DATA WRAPPER dummy",
            "CREATE VIEW v AS SELECT 1 AS one",
            """CREATE TABLE apart.t (a d, b e, g c, h r, k text COLLATE k,
                 i int DEFAULT needed.f(1), n int DEFAULT nextval('s'))""",
            "CREATE STATISTICS apart.st ON a, b FROM apart.t",
            "CREATE VIEW apart.w AS SELECT one FROM v",
            "CREATE FOREIGN TABLE apart.remote (id int) SERVER far",
            "COMMENT ON DOMAIN d IS 'a domain'",
            "COMMENT ON CONSTRAINT d_check ON DOMAIN d IS 'its check'",
            "COMMENT ON TYPE e IS 'a type'",
            "COMMENT ON TYPE c IS 'a row'",
            "COMMENT ON COLUMN c.two IS 'its column'",
            "COMMENT ON TYPE r IS 'a range'",
            "COMMENT ON FUNCTION needed.f IS 'a function'",
            "COMMENT ON SEQUENCE s IS 'a sequence'",
            "COMMENT ON COLLATION k IS 'a collation'",
            "COMMENT ON SCHEMA apart IS 'a schema'",
            "COMMENT ON SCHEMA needed IS 'a schema that is needed'",
            "COMMENT ON FOREIGN DATA WRAPPER dummy IS 'a wrapper'",
            "COMMENT ON SERVER far IS 'a server'",
            "COMMENT ON TABLE apart.t IS 'a table'",
            "COMMENT ON STATISTICS apart.st IS 'statistics'",
            "COMMENT ON VIEW v IS 'a view'",
            "COMMENT ON COLUMN v.one IS 'its column'",
        ),
        ("apart.t",),
        ("apart.w",),
        ("apart.remote",),
    ),
}


@pytest.fixture(autouse=True)
def _grantors(live: PostgresServer) -> Iterator[None]:
    """Roles that give on what they were given; they outlive the database of the test."""
    names = ("giver", "second", "third")
    run(live, "postgres", *(f"CREATE ROLE {name}" for name in names))
    yield
    run(live, "postgres", *(f"DROP ROLE IF EXISTS {name}" for name in names))


def objects_of(kind: Kind, database: str) -> list[ObjectId]:
    """Return the ids of what the kind is about; names without a schema are in public."""
    return [
        made(database, name.rpartition(".")[2], name.rpartition(".")[0] or "public")
        for made, names in ((table, kind.tables), (view, kind.views), (table, kind.foreign))
        for name in names
    ]


def contents(server: PostgresServer, kind: Kind, database: str) -> list[list[tuple[str, ...]]]:
    readable = kind._replace(foreign=())
    return [rows(server, one) for one in objects_of(readable, database)]


def differences(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return the lines that only one of two dumps has."""
    lost, gained = Counter(before) - Counter(after), Counter(after) - Counter(before)
    return [*(f"-{line}" for line in lost), *(f"+{line}" for line in gained)]


@pytest.mark.parametrize("name", KINDS)
def test_it_comes_back_as_it_was(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring, name: str
) -> None:
    kind, copy = KINDS[name], f"copy_of_{database}"
    run(live, database, *kind.statements)
    objects = objects_of(kind, database)
    before, content = definitions(live, database), contents(live, kind, database)
    chain = [taking.take()]
    try:
        copied = restoring.all(chain, *(beside(one, level1=copy) for one in objects))
        assert [str(one) for one in copied.values() if isinstance(one, BackupError)] == []
        assert differences(before, definitions(live, copy)) == []
        assert contents(live, kind, copy) == content
    finally:
        run(live, "postgres", f"DROP DATABASE IF EXISTS {copy}")

    run(live, database, *(f"DROP VIEW {one}" for one in kind.views))
    run(live, database, *(f"DROP FOREIGN TABLE {one}" for one in kind.foreign))
    run(live, database, *(f"DROP TABLE {one} CASCADE" for one in kind.tables))
    replaced = restoring.all(chain, *map(in_place, objects))
    assert [str(one) for one in replaced.values() if isinstance(one, BackupError)] == []
    assert contents(live, kind, database) == content
    assert differences(before, definitions(live, database)) == []


def test_what_a_role_granted_that_is_gone_is_granted_by_the_owner(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    run(
        live,
        database,
        "CREATE TABLE given (id int)",
        "GRANT SELECT ON given TO giver WITH GRANT OPTION",
        "SET ROLE giver",
        "GRANT SELECT ON given TO second WITH GRANT OPTION",
        "SET ROLE second",
        "GRANT SELECT ON given TO third",
    )
    chain = [taking.take()]
    run(live, database, "DROP TABLE given", "DROP ROLE giver")
    restored = restoring.one(chain, in_place(table(database, "given")))
    assert restored.notes == (
        'there is no role "giver" here: it had SELECT, it had granted SELECT',
    )
    acl = "SELECT array_to_string(relacl[2:], ' ') FROM pg_class WHERE relname = 'given'"
    assert ask(live, database, acl) == "second=r*/postgres third=r/second"


def test_who_may_not_grant_in_another_name_grants_as_the_owner(
    live: PostgresServer,
    database: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(
        live,
        database,
        "ALTER ROLE second LOGIN",
        f"GRANT ALL ON DATABASE {database} TO second",
        "GRANT ALL ON SCHEMA public TO second",
        "SET ROLE second",
        "CREATE TABLE given (id int)",
        "GRANT SELECT ON given TO giver WITH GRANT OPTION",
        "SET ROLE giver",
        "GRANT SELECT ON given TO third",
    )
    chain = [taking.take()]
    run(live, database, "DROP TABLE given")
    monkeypatch.setenv("PGUSER", "second")
    (note,) = restoring.one(chain, in_place(table(database, "given"))).notes
    assert note == (
        'what "giver" had granted is granted by its owner: permission denied to set role "giver"'
    )
    acl = "SELECT array_to_string(relacl[2:], ' ') FROM pg_class WHERE relname = 'given'"
    assert ask(live, database, acl) == "giver=r*/second third=r/second"
