"""Sizes that only large clusters have: segments of a gigabyte, and thousands of tables.

THREE_BACKUP_TABLES=10000 makes it as many, which takes a minute or two.
"""

import os

import pytest

from tests.postgres.restoring import Restoring, beside, rows, table
from tests.postgres.taking import Taking, ask, index_of, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError

SEGMENT = 1 << 30
MANY = int(os.environ.get("THREE_BACKUP_TABLES", "2000"))


@pytest.fixture
def postgres(postgres17: PostgresServer) -> PostgresServer:
    """One version is enough here."""
    return postgres17


def test_a_table_of_more_than_one_segment_comes_back_whole(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    large = table(database, "large")
    run(live, database, "CREATE TABLE large (i int, filler char(2000) STORAGE PLAIN)")
    insert = "INSERT INTO large SELECT i, '' FROM generate_series({}, {}) i"
    run(live, database, insert.format(1, 10), "CHECKPOINT")
    path = ask(live, database, "SELECT pg_relation_filepath('large')")
    os.truncate(live.pgdata / path, SEGMENT)  # pages without rows: nobody has to write them
    run(live, database, insert.format(11, 20))
    chain = [taking.take()]
    run(live, database, insert.format(21, 30), "UPDATE large SET i = -i WHERE i IN (1, 15)")
    chain.append(taking.take(chain[-1]))
    assert f"{path}.1" in index_of(chain[-1]).files

    restored = restoring.one(chain, beside(large, level3="copy"))

    assert restored.facts["rows"] == 30
    assert rows(live, table(database, "copy")) == rows(live, large)


def test_a_few_of_thousands_of_tables_come_back(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    create = f"""DO $$ BEGIN FOR i IN 1..{MANY} LOOP
                   EXECUTE format('CREATE TABLE t%s AS SELECT %s AS i, %L::text AS word', i, i, i);
                   IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"""
    run(live, database, create)
    chain = [taking.take()]
    run(live, database, f"UPDATE t{MANY // 2} SET word = 'changed'")
    chain.append(taking.take(chain[-1]))
    wanted = [table(database, f"t{number}") for number in (1, MANY // 2, MANY)]
    outcomes = restoring.all(chain, *(beside(one, level2="attic") for one in wanted))
    assert [one for one in outcomes.values() if isinstance(one, BackupError)] == []
    for one in wanted:
        assert rows(live, table(database, one.level3, "attic")) == rows(live, one)
