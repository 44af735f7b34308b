"""Name the package that the host of the target lacks: PostgreSQL says only what is missing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from three_backup.errors import BackupError

_LOCALE = (
    "make it on the host of the target (locale-gen of the package locales, or a package "
    "glibc-langpack) and restart its PostgreSQL"
)
_LACKING = (
    (
        r"invalid LC_\w+ locale name|invalid locale name",
        "postgres.no_locale",
        f"{_LOCALE}, or first create the database yourself, with another locale",
    ),
    (r"could not create locale", "postgres.no_locale", _LOCALE),
    (
        r"collation .* does not exist",
        "postgres.no_locale",
        f"{_LOCALE}, then run SELECT pg_import_system_collations('pg_catalog') in the database",
    ),
    (
        r"could not access file",
        "postgres.no_library",
        "install the package of the extension with that library on the host of the target",
    ),
    (
        r"ICU is not supported in this build",
        "postgres.no_icu",
        "restore into a server that was built with ICU",
    ),
)


@contextmanager
def lacking_told() -> Iterator[None]:
    """Turn errors about what is missing there into BackupErrors with their remedies."""
    try:
        yield
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        for pattern, code, hint in _LACKING:
            if re.search(pattern, said):
                raise BackupError(code, f"PostgreSQL: {said}", hint) from error
        raise
