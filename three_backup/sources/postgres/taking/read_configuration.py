"""Read the configuration of a server, as far as the role may."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from three_backup.sources.postgres.connection import as_stored
from three_backup.sources.postgres.saved_configuration import NAMES, SavedConfiguration

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# A role that may not know where the files are does not see these settings at all.
_PLACES = """
SELECT f.name, f.setting
  FROM pg_catalog.pg_settings AS f
  JOIN pg_catalog.pg_settings AS d ON d.name = 'data_directory'
 WHERE f.name IN ('config_file', 'hba_file', 'ident_file')
   AND NOT pg_catalog.starts_with(f.setting, d.setting || '/')
"""
_SEES_THEM = "SELECT pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')"
_SETTINGS = """
SELECT name, pg_catalog.current_setting(name)
  FROM pg_catalog.pg_settings WHERE source = 'configuration file' ORDER BY name
"""


def read_configuration(connection: "Connection") -> SavedConfiguration:
    """Read settings and files. A file that may not be read is left out, its settings are not."""
    with as_stored(connection):  # as the bytes in the files
        settings = connection.execute(_SETTINGS).fetchall()
    files = {
        NAMES[setting]: body.decode("utf-8", "surrogateescape")
        for setting, _, body in _files(connection)
        if body is not None
    }
    return SavedConfiguration(files, dict(settings))


def sees_all_settings(connection: "Connection") -> bool:
    """Tell whether the role sees all settings. Other roles miss some, such as file paths."""
    ((sees_them,),) = connection.execute(_SEES_THEM)
    return bool(sees_them)


def unread_files(connection: "Connection") -> list[str]:
    """Return the paths of the files that read_configuration() leaves out."""
    return [path for _, path, body in _files(connection) if body is None]


def _files(connection: "Connection") -> Iterator[tuple[str, str, bytes | None]]:
    """Yield each file as setting, path, and content (None if it may not be read)."""
    for setting, path in connection.execute(_PLACES).fetchall():
        yield setting, path, _read_here(connection, path) or _read_there(connection, path)


def _read_here(connection: "Connection", path: str) -> bytes | None:
    """Read the file itself if the connection is by socket, so that the server is on this host."""
    if PurePath(connection.info.host).is_absolute():
        with suppress(OSError):
            return Path(path).read_bytes()
    return None


def _read_there(connection: "Connection", path: str) -> bytes | None:
    """Have the server read the file; None if the role may not."""
    import psycopg

    with suppress(psycopg.errors.InsufficientPrivilege):
        ((body,),) = connection.execute("SELECT pg_catalog.pg_read_binary_file(%s)", (path,))
        return bytes(body)
    return None
