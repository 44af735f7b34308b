"""Find what this host lacks for restores of a server that may run elsewhere."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from three_backup.command import Program, run
from three_backup.errors import BackupError
from three_backup.model.findings import Finding, note
from three_backup.sources.postgres.connection import connect
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.locales import has_locale

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_LOCALES = """
SELECT c.collcollate
  FROM pg_attribute a
  JOIN pg_class r ON r.oid = a.attrelid AND r.relkind IN ('r', 'p', 'm')
  JOIN pg_collation c ON c.oid = a.attcollation AND c.collprovider = 'c'
 UNION
SELECT unnest(ARRAY[datcollate, datctype]) FROM pg_database WHERE datname = current_database()
"""
_LIBRARIES = """
SELECT DISTINCT substring(probin FROM '^(?:\\$libdir/)?([^/]+)$')
  FROM pg_proc WHERE oid >= 16384 AND probin IS NOT NULL
"""
# The setting is hidden from roles without pg_read_all_settings.
_INSIDE = """
SELECT quote_ident(t.spcname) FROM pg_tablespace t JOIN pg_settings s ON s.name = 'data_directory'
 WHERE starts_with(pg_tablespace_location(t.oid), s.setting || '/') ORDER BY 1
"""
_LIBRARY_FOLDERS = ("lib", "lib/postgresql", "lib64", "lib64/pgsql")
_IN_EVERY_SERVER = "plpgsql.so"


def check_blocks(binaries: Binaries, user: str | None, block_size: int) -> None:
    """Raise BackupError if the programs cannot read blocks of this size."""
    argv = [binaries["postgres"], "-C", "block_size", "-D", "/", "-c", "config_file=/dev/null"]
    own = int(run(Program(argv, user=user)))
    if own != block_size:
        raise BackupError(
            "postgres.block_size",
            f"postgres: the server has blocks of {block_size} bytes, but the programs in "
            f"{binaries.folder} were built for {own}",
            "set pg_bindir to programs that were built like the server's",
        )


def tablespaces_inside(connection: "Connection") -> Iterator[Finding]:
    """Yield a finding on tablespaces whose location is below the data directory."""
    names = [name for (name,) in connection.execute(_INSIDE)]
    if names:
        yield note(
            "tablespaces",
            f"{', '.join(names)}: its location is below the data directory, where a restored "
            "cluster cannot have it",
            "move it (ALTER TABLE ... SET TABLESPACE), or give it another folder when you restore "
            "with --pgdata (--tablespace-mapping OLD=NEW)",
        )


def lacking_here(databases: Iterable[str], binaries: Binaries) -> Iterator[Finding]:
    """Yield findings on locales and libraries that the databases use and this host lacks."""
    locales, libraries = set[str](), set[str]()
    for database in databases:
        with suppress(BackupError), connect(database) as connection:
            locales.update(_names(connection, _LOCALES))
            libraries.update(_names(connection, _LIBRARIES))
    unknown = sorted(name for name in locales if not has_locale(name))
    if unknown:
        yield note(
            "locales",
            f"this host lacks {', '.join(unknown)}: rows come back, but no database or column "
            "with it can be made on such a host",
            "make it on the hosts that you may restore to (locale-gen of the package locales, or "
            "a package glibc-langpack)",
        )
    absent = _absent(libraries, binaries)
    if absent:
        yield note(
            "extensions",
            f"this host lacks the libraries {', '.join(absent)}: tables that need them cannot be "
            "restored here",
            f"install the packages of these extensions for PostgreSQL {binaries.major}",
        )


def _names(connection: "Connection", query: str) -> Iterator[str]:
    yield from (name for (name,) in connection.execute(query.encode()) if name is not None)


def _absent(libraries: Iterable[str], binaries: Binaries) -> Sequence[str]:
    """Return the libraries that are missing; none where the folder of libraries is not found."""
    folders = [binaries.folder.resolve().parent / name for name in _LIBRARY_FOLDERS]
    found = [folder for folder in folders if (folder / _IN_EVERY_SERVER).exists()]
    if not found:
        return []
    files = {path.name for folder in found for path in folder.iterdir()}
    return sorted(name for name in libraries if f"{name.removesuffix('.so')}.so" not in files)
