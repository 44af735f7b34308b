"""Tables and views come back equal, in place, beside and over, or the target stays as it was."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres import zoo
from tests.postgres.restoring import (
    Restoring,
    beside,
    definitions,
    in_place,
    indexes,
    inhabitants,
    rows,
    session,
    table,
    view,
)
from tests.postgres.taking import DISABLED, LOCAL, Taking, ask, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.postgres.index import Place


@pytest.fixture
def restoring(server_folder: Path, live: PostgresServer) -> Iterator[Restoring]:
    folder = server_folder / "work"
    folder.mkdir(mode=0o711)
    yield Restoring(folder)
    shutil.rmtree(folder)


@pytest.fixture
def space(server_folder: Path, live: PostgresServer) -> Iterator[str]:
    folder = server_folder / "space"
    folder.mkdir()
    shutil.copystat(live.pgdata, folder)
    shutil.chown(folder, live.pgdata.owner(), live.pgdata.group())
    run(live, "postgres", f"CREATE TABLESPACE {zoo.TABLESPACE} LOCATION '{folder}'")
    yield zoo.TABLESPACE
    run(live, "postgres", f"DROP TABLESPACE {zoo.TABLESPACE}")
    shutil.rmtree(folder)


@pytest.fixture
def animals(live: PostgresServer, space: str) -> Iterator[str]:
    """A database with a table of every kind; `copy` beside it is dropped as well."""
    run(live, "postgres", "CREATE DATABASE zoo")
    run(live, "zoo", *zoo.STATEMENTS)
    yield "zoo"
    for database in ("zoo", "copy"):
        run(live, "postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def test_every_kind_of_object_comes_back_equal_into_a_new_database(
    live: PostgresServer, animals: str, taking: Taking, restoring: Restoring
) -> None:
    objects = [table(animals, name, "app") for name in zoo.TABLES]
    objects += [view(animals, name, "app") for name in zoo.VIEWS]
    chain = [taking.take()]
    run(live, animals, *zoo.CHANGES)
    chain.append(taking.take(chain[-1]))
    run(live, animals, *zoo.MORE_CHANGES)
    chain.append(taking.take(chain[-1]))

    outcomes = restoring.all(chain, *(beside(one, level1="copy") for one in objects))

    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)]
    assert failures == []
    run(live, animals, "TRUNCATE app.fleeting")  # unlogged: no backup has its rows
    assert definitions(live, "copy") == definitions(live, animals)
    for one in objects:
        if one.level3 != "later":
            assert rows(live, replace(one, level1="copy")) == rows(live, one), one
    assert ask(live, "copy", "SELECT nextval('app.shared')") == ask(
        live, animals, "SELECT nextval('app.shared')"
    )
    identities = "INSERT INTO app.rich (span) VALUES ('(-2,-1)') RETURNING (id, number, ticket)"
    assert ask(live, "copy", identities) == ask(live, animals, identities)


def test_odd_names_come_back_where_they_were_and_beside(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    with session(live, database) as connection:
        for name in zoo.ODD_NAMES:
            quoted = name.replace('"', '""')
            connection.execute(f'CREATE SCHEMA "{quoted}"'.encode())
            connection.execute(
                f'CREATE TABLE "{quoted}"."{quoted}" ("{quoted}" serial PRIMARY KEY)'.encode()
            )
            connection.execute(
                f'INSERT INTO "{quoted}"."{quoted}" SELECT FROM generate_series(1, 3)'.encode()
            )
    objects = [table(database, name, name) for name in zoo.ODD_NAMES]
    before = {one: rows(live, one) for one in objects}
    chain = [taking.take()]
    for name in zoo.ODD_NAMES:
        quoted = name.replace('"', '""')
        run(live, database, f'DROP SCHEMA "{quoted}" CASCADE')

    outcomes = restoring.all(chain, *map(in_place, objects))
    assert [one for one in outcomes.values() if isinstance(one, BackupError)] == []
    assert {one: rows(live, one) for one in objects} == before

    wanted = [beside(one, level3=f"{one.level3[:20]}_copy") for one in objects]
    outcomes = restoring.all(chain, *wanted)
    assert [one for one in outcomes.values() if isinstance(one, BackupError)] == []
    assert {one.object: rows(live, one.target) for one in wanted} == before
    assert len(indexes(live, wanted[0].target)) == 1
