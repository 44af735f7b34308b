"""The amount of a cluster that a restore lays out, and pages that are missing from it."""

import os
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.postgres.restoring import Restoring, beside, rows, table
from tests.postgres.taking import Taking, ask, run
from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.restoring import ground
from three_backup.sources.postgres.restoring.revive import revived
from three_backup.sources.postgres.scratch.folder import PGDATA
from three_backup.sources.postgres.scratch.server import ScratchServer, scratch_server

MEGABYTE = 1 << 20


def filled(name: str, megabytes: float) -> tuple[str, str]:
    """Return statements that create a table of that size, without autovacuum."""
    return (
        f"CREATE TABLE {name} (i int, filler char(1000)) WITH (autovacuum_enabled = off)",
        f"INSERT INTO {name} SELECT i, '' FROM generate_series(1, {int(megabytes * 910)}) i",
    )


def on_scratch(
    restoring: Restoring, chain: list[Files], object_id: ObjectId
) -> tuple[set[str], int]:
    """Return the relations whose pages recovery missed, and the bytes of pgdata without WAL."""
    job = restoring.job(chain, beside(object_id, level3="copy"))
    with revived(
        job, OpenedChain(chain, lambda size: None, lambda size: None), [object_id]
    ) as scratch:
        pgdata = scratch.server.log.parent / PGDATA
        wal = pgdata / "pg_wal"
        files = [path for path in pgdata.rglob("*") if path.is_file() and wal not in path.parents]
        return scratch.server.invalid_pages(), sum(path.stat().st_blocks * 512 for path in files)


def test_many_tables_come_back_through_one_server(
    old: PostgresServer,
    rare: str,
    taking: Taking,
    restoring: Restoring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []

    def counted(*arguments: Any) -> AbstractContextManager[ScratchServer]:
        started.append("once")
        return scratch_server(*arguments)

    monkeypatch.setattr(ground, "scratch_server", counted)
    names = [f"part{number}" for number in range(12)]
    run(old, rare, *(f"CREATE TABLE {name} AS SELECT '{name}' AS word" for name in names))
    wanted = [beside(table(rare, name), level3=f"{name}_back") for name in names]
    restoring.all([taking.take()], *wanted)
    assert len(started) == 1
    for name in names:
        assert rows(old, table(rare, f"{name}_back")) == rows(old, table(rare, name))


def test_pages_that_are_missing_fail_the_table_they_are_of_and_no_other(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    for name, size in (("lost", 0.4), ("large", 0.4), ("small", 0.03), ("whole", 0.4)):
        run(old, rare, *filled(name, size))
    paths = {
        name: ask(old, rare, f"SELECT pg_relation_filepath('{name}')")
        for name in ("lost", "large", "small", "whole")
    }

    def lose() -> None:
        """Vacuum all, then truncate `lost`: without checksums, that WAL has no page contents."""
        run(old, rare, "VACUUM lost", "VACUUM large", "VACUUM small", "VACUUM whole")
        os.truncate(old.pgdata / paths["lost"], 0)

    chain = [taking.take(meanwhile=lose)]
    missed, _ = on_scratch(restoring, chain, table(rare, "whole"))
    assert missed == {paths[name] for name in ("lost", "large", "small")}

    wanted = [beside(table(rare, name), level3=f"{name}2") for name in ("lost", "whole")]
    lost, whole = restoring.all(chain, *wanted).values()

    assert isinstance(lost, BackupError)
    assert f"recovery missed pages of {paths['lost']}; restore another snapshot" in str(lost)
    assert isinstance(whole, Restored)
    assert rows(old, table(rare, "whole2")) == rows(old, table(rare, "whole"))


def test_what_is_not_wanted_takes_no_room_though_it_was_written_to_at_its_end(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, "postgres", "CREATE DATABASE copy")
    run(old, rare, *filled("large", 40), "CREATE TABLE small AS SELECT 1 AS i")
    run(old, "copy", *filled("large", 40))
    last = "UPDATE large SET filler = 'late' WHERE i = (SELECT max(i) FROM large)"

    def write() -> None:
        run(old, rare, last)
        run(old, "copy", last)

    chain = [taking.take(meanwhile=write)]
    chain.append(taking.take(chain[-1], meanwhile=write))
    for length in (1, 2):
        _, taken = on_scratch(restoring, chain[:length], table(rare, "small"))
        assert taken < 20 * MEGABYTE
