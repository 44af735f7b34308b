"""Explains that nothing at all is stored: in which places, and where else something is.

On a new host this is the first thing to go wrong: its prefix is not that of the lost host.
"""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.stored_ids import stored_ids
from three_backup.errors import BackupError, NothingFoundError
from three_backup.model.nearest import in_words, nearest
from three_backup.model.objects import matches
from three_backup.model.snapshots import rfc3339
from three_backup.s3.neighbours import some_neighbours
from three_backup.sources import SOURCES

SHOWN = "tb-list --stored --snapshots shows what there is"


class Whereabouts:
    """Explains an empty result; lists S3 and reads manifests only after a lookup failed."""

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
        moment = next((catalog.storage.as_of for catalog in catalogs), None)
        if moment is not None:
            sentence = f"at {rfc3339(moment)} nothing was stored {' or '.join(places)}"
            return BackupError("catalog.empty", sentence, "give --as-of another moment")
        return BackupError(
            "catalog.empty", f"nothing is stored {' or '.join(places)}", _hint(catalogs)
        )

    def not_found(self, code: str, sentence: str, hint: str) -> NothingFoundError:
        """Return the error that the wanted thing is not there, or why nothing is there at all."""
        if self.nothing is None:
            return NothingFoundError(code, sentence, hint)
        return NothingFoundError(code, f"{sentence}: {self.nothing.message}", self.nothing.hint)

    def near(self, pattern: str) -> str:
        """Return what comes nearest to an id or selector, in words; else how to see what is there.

        Objects that only older snapshots hold count, too.
        """
        others = sorted(held for held in self._ids if matches(pattern, held))
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            return (
                f"other snapshots hold {others[0]}{more}: tb-list --history "
                f"{shlex.quote(others[0])} shows which"
            )
        return in_words(nearest(pattern, self._ids)) or SHOWN

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(stored_ids(self._catalogs, [source.type for source in SOURCES]))


def _hint(catalogs: Sequence[Catalog]) -> str:
    for other in (other for catalog in catalogs for other in catalog.beside):
        with suppress(BackupError):
            if any(other.carriers(source.type) for source in SOURCES):
                store = other.storage.store
                return f"copies lie in store {store}: --store {store} reads them"
    stores = [catalog.s3 for catalog in catalogs if catalog.s3 is not None]
    if not stores:
        return (
            'no bucket is configured: set s3_bucket and s3_endpoint under "*" in '
            "/etc/three_backup.yaml, or name another file with --config"
        )
    others = sorted({prefix for store in stores for prefix in some_neighbours(store)})
    if not others:
        return (
            "tb-run stores the first snapshots; else correct s3_endpoint, s3_bucket or s3_prefix"
        )
    return (
        f"hosts stored below {', '.join(others)}: read that with --s3-prefix "
        f"{shlex.quote(others[0])}, or on a host that takes its place set s3_prefix"
    )
