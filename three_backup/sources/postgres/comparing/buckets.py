"""Finds the buckets of rows in which two sides differ, by one scan of each, both at once."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.comparing.shape import Common, Shape
from three_backup.sources.postgres.connection import quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_BUCKETS = 1 << 16
_HASH = "pg_catalog.hashtextextended({}, {})"
_SUMS = """
COPY (SELECT bucket, pg_catalog.count(*), pg_catalog.sum(hash)
        FROM (SELECT {bucket} AS bucket, {hash} AS hash FROM {scanned}) AS rows
       GROUP BY bucket) TO STDOUT
"""


@dataclass(frozen=True, slots=True)
class Scan:
    """The rows of a relation on one side."""

    connection: "Connection"
    shape: Shape
    is_live: bool

    def sums(self, common: Common) -> bytes:
        """Return the statement that tells of each bucket how many rows it has, and their hash."""
        whole = _as_text(common.names)
        statement = _SUMS.format(
            bucket=bucket(common), hash=_HASH.format(whole, 1), scanned=self.shape.scanned
        )
        return statement.encode(*AS_BYTES)


def bucket(common: Common) -> str:
    """Return the SQL of the bucket that a row is in: rows of one key are in the same."""
    key = _as_text(common.key or common.names)
    return f"({_HASH.format(key, 0)} & {_BUCKETS - 1})::int4"


def differing(earlier: Scan, later: Scan, common: Common) -> list[int]:
    """Return the buckets that differ. The servers scan at the same time."""
    with ExitStack() as stack:
        given = [
            stack.enter_context(
                stack.enter_context(scan.connection.cursor()).copy(scan.sums(common))
            )
            for scan in (earlier, later)
        ]
        left = dict(_parsed(given[0]))
        differ = [number for number, sums in _parsed(given[1]) if left.pop(number, None) != sums]
    return sorted([*differ, *left])


def _parsed(lines: Iterable[bytes | bytearray | memoryview]) -> Iterator[tuple[int, bytes]]:
    for line in lines:
        number, _, sums = bytes(line).partition(b"\t")
        yield int(number), sums


def _as_text(names: Iterable[str]) -> str:
    # By the functions that write the types, never by a cast, which a user may have made.
    return f"ROW({', '.join(map(quoted, names))})::text"
