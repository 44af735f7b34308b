"""Rare kinds of tables come back as they were, into another database and in place."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from tests.postgres.restoring import Restoring, beside, definitions, in_place, rows, table, view
from tests.postgres.taking import Taking, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId


class Kind(NamedTuple):
    statements: Sequence[str]
    tables: Sequence[str]
    views: Sequence[str] = ()


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
        for made, names in ((table, kind.tables), (view, kind.views))
        for name in names
    ]


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
    objects, copies = objects_of(kind, database), objects_of(kind, copy)
    before, content = definitions(live, database), [rows(live, one) for one in objects]
    chain = [taking.take()]
    try:
        copied = restoring.all(chain, *(beside(one, level1=copy) for one in objects))
        assert [str(one) for one in copied.values() if isinstance(one, BackupError)] == []
        assert differences(before, definitions(live, copy)) == []
        assert [rows(live, one) for one in copies] == content
    finally:
        run(live, "postgres", f"DROP DATABASE IF EXISTS {copy}")

    run(live, database, *(f"DROP TABLE {one} CASCADE" for one in kind.tables))
    replaced = restoring.all(chain, *map(in_place, objects))
    assert [str(one) for one in replaced.values() if isinstance(one, BackupError)] == []
    assert [rows(live, one) for one in objects] == content
    assert differences(before, definitions(live, database)) == []
