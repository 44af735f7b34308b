"""The servers under all other tests."""

import psycopg

from three_backup.demo.servers import PostgresServer, SeaweedServer


def test_a_server_runs_the_version_that_was_asked_for(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.conninfo()) as connection:
        assert connection.info.server_version // 10_000 == postgres.version


def test_postgres_comes_back_on_the_same_port_after_it_was_killed(
    postgres: PostgresServer,
) -> None:
    port = postgres.port
    postgres.kill()
    postgres.start()
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        assert connection.execute("SHOW port").fetchone() == (str(port),)


def test_seaweed_comes_back_after_it_was_killed(seaweed: SeaweedServer, bucket: str) -> None:
    seaweed.kill()
    seaweed.start()
    seaweed.create_bucket(f"{bucket}-more")
    seaweed.delete_bucket(f"{bucket}-more")
