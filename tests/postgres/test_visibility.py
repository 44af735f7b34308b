"""What an incremental says of visibility is no more than what is true."""

from pathlib import Path

from tests.postgres.rebuilding import rebuild, running
from tests.postgres.taking import Taking, ask, run
from three_backup.demo.servers import PostgresServer


def test_deleted_rows_do_not_come_back_in_index_only_scans_of_a_whole_cluster(
    live: PostgresServer, database: str, taking: Taking, parent: Path
) -> None:
    run(
        live,
        database,
        "CREATE EXTENSION pg_visibility",
        "CREATE TABLE t (i int PRIMARY KEY) WITH (autovacuum_enabled = off)",
        "INSERT INTO t SELECT generate_series(1, 100)",
        "VACUUM FREEZE t",
    )
    chain = [taking.take()]
    run(live, database, "DELETE FROM t WHERE i > 50", "CHECKPOINT")
    chain.append(taking.take(chain[-1]))
    rebuild(chain, parent)
    with running(parent, live) as server:
        assert ask(server, database, "SELECT count(*) FROM pg_check_visible('t')") == "0"
        run(server, database, f"ALTER DATABASE {database} SET enable_seqscan = off")
        assert ask(server, database, "SELECT count(i) FROM t WHERE i > 0") == "50"
