"""The visits to the demo's shop, in ClickHouse."""

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.shop import TableContents

DATABASE = "shop"
LOST_TABLE = "visits"

_SCHEMA = (
    "CREATE DATABASE shop",
    """
    CREATE TABLE shop.visits (
        at DateTime, visitor UInt32, page LowCardinality(String), milliseconds UInt16
    ) ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY (page, at)
    """,
    """
    CREATE MATERIALIZED VIEW shop.visits_by_day ENGINE = SummingMergeTree ORDER BY day AS
    SELECT toDate(at) AS day, count() AS visits FROM shop.visits GROUP BY day
    """,
)
_VISITS = """
INSERT INTO shop.visits
SELECT toDateTime('{}', 'UTC') + number * 11, cityHash64(number) % 20000,
       ['/', '/teapots', '/clocks', '/cart', '/thanks'][1 + cityHash64(number, 1) % 5],
       20 + cityHash64(number, 2) % 900
FROM numbers({})
"""
_BEFORE, _YESTERDAY = 500_000, 20_000
_SIZE = "SELECT sum(total_bytes) FROM system.tables WHERE database = 'shop'"
_CONTENTS = "SELECT count(), hex(sum(cityHash64(*))) FROM shop.{}"


def fill(server: ClickhouseServer) -> int:
    """Make and fill the tables; return the number of rows."""
    for statement in (*_SCHEMA, _VISITS.format("2026-09-01 00:00:00", _BEFORE)):
        server.execute(statement)
    return _BEFORE


def visit(server: ClickhouseServer) -> int:
    """Add more visits; return their number."""
    server.execute(_VISITS.format("2026-11-22 00:00:00", _YESTERDAY))
    return _YESTERDAY


def size(server: ClickhouseServer) -> int:
    """Bytes of the database at the source."""
    ((found,),) = server.rows(_SIZE)
    return int(found)


def contents(server: ClickhouseServer, table: str) -> TableContents:
    ((rows, digest),) = server.rows(_CONTENTS.format(table))
    return TableContents(int(rows), digest)


def drop(server: ClickhouseServer, table: str) -> None:
    server.execute(f"DROP TABLE {DATABASE}.{table} SYNC")
