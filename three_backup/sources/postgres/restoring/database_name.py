"""Gives a database a name that no session may be able to send to the server.

A server takes statements only in the encoding of the session's database. It takes any bytes in
the settings with which a session begins.
"""

import hashlib
import os
import re
from typing import TYPE_CHECKING

from three_backup.errors import readable
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.spelling import bytes_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_RENAME = """
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RENAME TO %I',
                           current_setting('three_backup.old'),
                           current_setting('three_backup.new')); END $$
"""
_OTHERS = re.compile("[^A-Za-z0-9_]")


def sendable(connection: "Connection", database: str) -> str:
    """Return the name of the database, or one that the session can send in place of it."""
    stored = database.encode(*AS_BYTES)
    if readable(database) == database and bytes_of(connection, database) == stored:
        return database
    return f"three_backup_{hashlib.sha256(stored).hexdigest()[:16]}"


def rename_database(old: str, new: str) -> None:
    settings = f"-c three_backup.old={_escaped(old)} -c three_backup.new={_escaped(new)}"
    options = f"{os.environ.get('PGOPTIONS', '')} {settings}"
    with connect(options=options) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(_RENAME)


def _escaped(name: str) -> str:
    return _OTHERS.sub(lambda match: f"\\{match[0]}", name)
