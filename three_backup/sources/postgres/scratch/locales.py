"""Make stand-ins for locales that this host lacks, so that a scratch server opens its databases.

PostgreSQL lets nobody into a database of an unknown locale. Rows do not depend on it: only the
order of text does, in indexes, which are built anew in the target.
"""

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.scratch.folder import acting_as, stop_server
from three_backup.sources.postgres.scratch.server import ScratchServer, start
from three_backup.sources.postgres.scratch.session import NO_LOCALE

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# 100 is the collation of the database; a version that was not recorded says nothing.
_COLLATIONS = """
SELECT oid::int8, collcollate, collversion <> pg_collation_actual_version(oid)
  FROM pg_collation WHERE collprovider IN ('c', 'i')
 UNION ALL
SELECT 100, CASE datlocprovider WHEN 'c' THEN datcollate END,
       datcollversion <> pg_database_collation_actual_version(oid)
  FROM pg_database WHERE datname = current_database()
"""
_UNKNOWN = re.compile(
    r'LC_(?:COLLATE|CTYPE) "([^"/.][^"/]*)",\s+which is not recognized by setlocale'
)
_BY_INDEX = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
_SYSTEM = Path("/usr/lib/locale")
_CTYPE_AND_COLLATE = 1 << 0 | 1 << 3
_LIBC = ctypes.CDLL(None)
_LIBC.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_LIBC.newlocale.restype = ctypes.c_void_p
_LIBC.freelocale.argtypes = (ctypes.c_void_p,)


def has_locale(name: str) -> bool:
    """Tell whether this host has the locale."""
    found = _LIBC.newlocale(_CTYPE_AND_COLLATE, name.encode(), None)
    if found:
        _LIBC.freelocale(found)
    return bool(found)


def let_into_databases(server: ScratchServer, user: str | None, databases: Sequence[str]) -> None:
    """Make the stand-ins without which the databases cannot be entered.

    Other refusals are left for whoever enters them. user: the server runs as this user.
    """
    for database in databases:
        while (refusal := _refusal(server, database)) is not None:
            known = server.stand_ins
            if not stand_in(server, user, refusal):
                break
            if not known:  # from now on the server looks there
                stop_server(server.pgdata)
                start(server, user)


def stand_in(server: ScratchServer, user: str | None, refusal: BackupError) -> bool:
    """Make a stand-in for the locale that the refusal names; return whether that could be done.

    It takes effect at the next start, or at once if the server was started with one.
    """
    unknown = _UNKNOWN.search(refusal.message)
    model = next((path for path in sorted(_SYSTEM.glob("C.*")) if path.is_dir()), None)
    if unknown is None or model is None or unknown[1] in server.stand_ins:
        return False
    with acting_as(user):
        server.locales.mkdir(exist_ok=True)
        (server.locales / unknown[1]).symlink_to(model)
    return True


def unsortable_collations(scratch: "Connection") -> list[int]:
    """Return the oids of the database's collations that this host lacks or has otherwise."""
    found = scratch.execute(_COLLATIONS.encode()).fetchall()
    missing = {name for _, name, _ in found if name is not None and not has_locale(name)}
    return [oid for oid, name, is_another in found if is_another or name in missing]


def settings_to_find_all(scratch: "Connection") -> Mapping[str, str]:
    """Return settings with which a query finds all rows that it asks for.

    An index that is in another order than this host's hides rows from whoever looks by it.
    """
    return dict.fromkeys(_BY_INDEX, "off") if unsortable_collations(scratch) else {}


def _refusal(server: ScratchServer, database: str) -> BackupError | None:
    """Return the error if the locale of the database keeps everybody out."""
    try:
        with server.connect(database):
            return None
    except BackupError as error:
        return error if error.code == NO_LOCALE else None
