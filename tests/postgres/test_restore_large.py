"""Sizes that only large clusters have: segments of a gigabyte, and ten thousand tables."""

import os

from tests.postgres.restoring import Restoring, beside, rows, table
from tests.postgres.taking import Taking, ask, index_of, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError

SEGMENT = 1 << 30
MANY = 10_000


def test_a_table_of_more_than_one_segment_comes_back_whole(
    live: PostgresServer, database: str, taking: Taking, restoring: Restoring
) -> None:
    large = table(database, "large")
    run(live, database, "CREATE TABLE large (i int, filler char(2000) STORAGE PLAIN)")
    insert = "INSERT INTO large SELECT i, '' FROM generate_series({}, {}) i"
    run(live, database, insert.format(1, 10), "CHECKPOINT")
    path = ask(live, database, "SELECT pg_relation_filepath('large')")
    os.truncate(live.pgdata / path, SEGMENT)  # a hole: pages without rows
    run(live, database, insert.format(11, 20))
    chain = [taking.take()]
    run(live, database, insert.format(21, 30), "UPDATE large SET i = -i WHERE i IN (1, 15)")
    chain.append(taking.take(chain[-1]))
    assert f"{path}.1" in index_of(chain[-1]).files

    restored = restoring.one(chain, beside(large, level3="copy"))

    assert restored.facts["rows"] == 30
    assert rows(live, table(database, "copy")) == rows(live, large)


def test_a_few_of_ten_thousand_tables_come_back(
    old: PostgresServer, rare: str, taking: Taking, restoring: Restoring
) -> None:
    run(old, rare, "CREATE TYPE mood AS ENUM ('ok')")
    create = f"""DO $$ BEGIN FOR i IN 1..{MANY} LOOP
                   EXECUTE format('CREATE TABLE t%s AS SELECT %s AS i, ''ok''::mood', i, i);
                   IF i % 200 = 0 THEN COMMIT; END IF; END LOOP; END $$"""
    run(old, rare, create)
    chain = [taking.take()]
    run(old, rare, f"UPDATE t{MANY // 2} SET i = -1")
    chain.append(taking.take(chain[-1]))
    wanted = [table(rare, f"t{number}") for number in (1, MANY // 2, MANY)]
    outcomes = restoring.all(chain, *(beside(object_id, level1="copy") for object_id in wanted))
    assert [outcome for outcome in outcomes.values() if isinstance(outcome, BackupError)] == []
    for object_id in wanted:
        assert rows(old, table("copy", object_id.level3)) == rows(old, object_id)
