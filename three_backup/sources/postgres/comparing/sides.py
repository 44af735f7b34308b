"""The two sides of a comparison: the servers that have them, and the sessions that read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.command import Program, own_work
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.looking.reader import comparing
from three_backup.sources.postgres.restoring.revive import Revived
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.session import plain_rows

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# Rows are compared as text, so both sides have to write them alike.
_ALIKE = """
SET timezone = 'UTC'; SET row_security = off; SET jit = off; SET work_mem = '64MB'
"""
# No code of whoever owns a table may run with our rights: a superuser's, as likely as not.
_GUARDED = """
SET restrict_nonsystem_relation_kind = 'view, foreign-table'; SET constraint_exclusion = off
"""
_ONE_MOMENT = """
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
"""


@dataclass(frozen=True, slots=True)
class Side:
    """A server that has the objects as they are at one moment."""

    revived: Revived | None  # None: the live server

    @property
    def is_live(self) -> bool:
        return self.revived is None

    @contextmanager
    def at_one_moment(self, database: str) -> "Iterator[Connection]":
        """Open a session in a transaction that sees one moment, and writes nothing."""
        with self.session(database) as connection:
            connection.execute(_ONE_MOMENT)
            with connection.transaction():
                yield connection

    @contextmanager
    def session(self, database: str) -> "Iterator[Connection]":
        """Open a session; that of a private server may make temporary tables."""
        if self.revived is None:
            with connect(database) as connection:
                plain_rows(connection)
                connection.execute(_ALIKE)
                connection.execute(_GUARDED)
                yield connection
        else:
            with comparing(self.revived.server, database) as connection:
                connection.execute(_ALIKE)
                yield connection

    def program(self, binaries: Binaries, name: str, *arguments: str, database: str) -> Program:
        """Return a client program that connects to this side. binaries: for the live server."""
        if self.revived is not None:
            return self.revived.server.program(name, *arguments, database=database)
        argv = [binaries[name], *arguments]
        return Program(argv, {"PGDATABASE": database}, source="postgres", life=own_work)
