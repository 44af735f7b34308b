"""Explains that nothing at all is stored: in which places, and where else something is.

On a new host this is the first thing to go wrong: its prefix is not that of the lost host.
"""

import shlex
from collections.abc import Sequence
from functools import cached_property

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError
from three_backup.sources import SOURCES


class Whereabouts:
    """Explains an empty result; lists S3 only after a lookup failed."""

    def __init__(self, catalogs: Sequence[Catalog]) -> None:
        self._catalogs = catalogs

    @cached_property
    def nothing(self) -> BackupError | None:
        """The error that nothing is stored; None if anything is, or S3 could not be asked."""
        catalogs = self._catalogs
        if any(catalog.partial for catalog in catalogs):
            return None
        if any(catalog.carriers(source.type) for catalog in catalogs for source in SOURCES):
            return None
        places = dict.fromkeys(place for catalog in catalogs for place in catalog.places)
        return BackupError(
            "catalog.empty", f"nothing is stored {' or '.join(places)}", _hint(catalogs)
        )

    def not_found(self, code: str, sentence: str, hint: str) -> BackupError:
        """Return the error that the wanted thing is not there, or why nothing is there at all."""
        if self.nothing is None:
            return BackupError(code, sentence, hint)
        return BackupError(code, f"{sentence}: {self.nothing.message}", self.nothing.hint)


def _hint(catalogs: Sequence[Catalog]) -> str:
    stores = [catalog.s3 for catalog in catalogs if catalog.s3 is not None]
    if not stores:
        return (
            'no bucket is configured: set s3_bucket and s3_endpoint under "*" in '
            "/etc/three_backup.yaml, or name another file with --config"
        )
    others = sorted({prefix for store in stores for prefix in store.prefixes()})
    if not others:
        return (
            "tb-run stores the first snapshots; else correct s3_endpoint, s3_bucket or s3_prefix"
        )
    return (
        f"hosts stored below {', '.join(others)}: read that with --s3-prefix "
        f"{shlex.quote(others[0])}, or on a host that takes its place set s3_prefix"
    )
