"""Finds what a tool is asked to bring back or to look at, and in which snapshot each thing is."""

from collections.abc import Iterator, Sequence

from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, NothingFoundError
from three_backup.model.records import Record
from three_backup.pipe import Invocation
from three_backup.restoring.moments import MomentFinder
from three_backup.restoring.snapshot_finder import Broken, Finder, Held, recorded

Asked = tuple[Record, Held | BackupError | None]


def reachable(invocation: Invocation, catalog: Catalog) -> Catalog:
    """Return the catalog; while S3 is away, with what lies on this host."""
    try:
        catalog.list_everything()
        return catalog
    except BackupError as error:
        local = catalog.without_s3(error)
        others = [f"--store {other.storage.store} reads the copies" for other in catalog.beside]
        meanwhile = "only what lies on this host can be restored meanwhile"
        invocation.say("; ".join((str(error), meanwhile, *others)))
        return local


def asked_for(
    invocation: Invocation, finder: Finder | MomentFinder, patterns: Sequence[str]
) -> Iterator[Asked]:
    """Yield what the patterns or, without any, the records on standard input ask for.

    Each comes with the snapshot that holds it; None for what failed before, or cannot be backed
    up.
    """
    if patterns:
        found = map(recorded, _all(invocation, finder, patterns))
        yield from {record.id: (record, held) for record, held in found}.values()
        return
    for record in invocation.records():
        try:
            idle = record.failed or record.unsupported
            yield record, None if idle else finder.one(record.object)
        except BackupError as error:
            yield record, error


def _all(
    invocation: Invocation, finder: Finder | MomentFinder, patterns: Sequence[str]
) -> list[Held | Broken]:
    """Return what the patterns select. Where one selects nothing, each such is named."""
    found: list[Held | Broken] = []
    nothing: list[NothingFoundError] = []
    for pattern in patterns:
        try:
            found += finder.all(pattern)
        except NothingFoundError as error:
            nothing.append(error)
    for unmet in nothing[:-1]:
        invocation.say(str(unmet))
    if nothing:
        raise nothing[-1]
    return found
