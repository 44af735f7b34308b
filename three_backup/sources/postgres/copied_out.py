"""Takes what COPY writes in pieces of many rows, where psycopg waits for each row by itself.

Millions of rows would cost more in Python than they cost the server.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING

from psycopg import generators, pq
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

from three_backup.sources.postgres.spelling import codec_of, spelt

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from three_backup.sources.postgres.connection import Connection

_PIECE = 1 << 20


def copied_out(connection: "Connection", statement: bytes) -> Generator[bytes, None, int]:
    """Yield what a COPY to standard output writes, whole rows in each piece; return their number.

    Nothing else may be asked of the session meanwhile. Raises psycopg.Error.
    """
    session, codec = connection.pgconn, codec_of(connection)
    session.send_query(spelt(connection, statement))
    connection.wait(generators.send(session))
    rows = 0
    while (result := connection.wait(_result(session, codec))) is not None:
        is_over = result.status != pq.ExecStatus.COPY_OUT
        while not is_over:
            piece, is_over = connection.wait(_gathered(session))
            if piece:
                yield piece
        rows = result.command_tuples or rows
    return rows


def _result(session: "PGconn", codec: str) -> "PQGen[PGresult | None]":
    """Return the next result; None after the last one. Raises psycopg.Error once all have come."""
    result: PGresult | None = yield from generators.fetch(session)
    if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
        while (yield from generators.fetch(session)) is not None:
            pass
        raise error_from_result(result, codec)
    return result


def _gathered(session: "PGconn") -> "PQGen[tuple[bytes, bool]]":
    """Return the rows that have come, and whether they are the last ones."""
    rows, size = [], 0
    while size < _PIECE:
        length, row = session.get_copy_data(1)
        if length > 0:
            rows.append(row)
            size += length
        elif length < 0:
            return b"".join(rows), True
        elif rows:
            break  # the next ones are still on their way
        else:
            ready = yield Wait.R
            while ready == Ready.NONE:
                ready = yield Wait.R
            session.consume_input()
    return b"".join(rows), False
