"""Records of objects: those live at the sources, or those stored in the catalog."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from shutil import which
from typing import Any

from three_backup.catalog.carriers import can_hold, record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.holds import Hold
from three_backup.catalog.hollow_memory import filled
from three_backup.catalog.signatures import all_unsigned
from three_backup.config import Configuration
from three_backup.errors import BackupError
from three_backup.model.dependencies import missing_links
from three_backup.model.objects import Carrier, ObjectId, can_match_below, selected
from three_backup.model.records import Record, of_source
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId, Stored, rfc3339
from three_backup.model.storage import Storage
from three_backup.sources import SOURCES, source_of
from three_backup.sources.base import Found, Source, Unreadable
from three_backup.sources.jobs import Say


def reachable(patterns: Sequence[str]) -> list[Source]:
    """Return the sources with a program on PATH whose objects a pattern can select."""
    return [
        source
        for source in SOURCES
        if not patterns or any(can_match_below(pattern, source.type) for pattern in patterns)
        if any(which(program) for program in source.programs)
    ]


def is_left_out(source: Source, configuration: Configuration) -> bool:
    """Whether nothing of the source is backed up, so that its server need not be there."""
    below = configuration.settings_below(source.type)
    return bool(below) and all(settings.disable for settings in below)


def live(
    patterns: Sequence[str], configuration: Configuration, say: Say
) -> Iterator[tuple[Record, BackupError | None]]:
    """Yield the records of the live objects that patterns select, those of one carrier together.

    What cannot be listed yields a record as well, without an object but with the error.
    """
    for source in reachable(patterns):
        settings = configuration.source_settings(source.type)
        try:
            for found in source.discover(patterns, settings, say):
                yield _record(found, source.type)
        except BackupError as error:
            if not is_left_out(source, configuration):
                yield of_source(source.type, source.type), error


def stored(
    patterns: Sequence[str], catalogs: Iterable[Catalog], types: Iterable[str]
) -> Iterator[tuple[Record, BackupError | None]]:
    """Yield a record of every object that a snapshot holds, with the ids of these snapshots.

    A manifest that cannot be read yields a record of its carrier, with the error.
    """
    for catalog in catalogs:
        for source_type in types:
            if patterns and not any(can_match_below(pattern, source_type) for pattern in patterns):
                continue
            for carrier in catalog.carriers(source_type):
                if can_hold(carrier, partial(selected, patterns)):
                    yield from _stored(catalog, carrier, patterns)


def missing_of(
    carrier: Carrier, snapshots: Iterable[Stored], hollow: Collection[SnapshotId] = ()
) -> Mapping[SnapshotId, datetime]:
    """Return those of a carrier's snapshots, oldest first, that cannot be restored.

    Each comes with the time of the snapshot that it builds on and that is gone, or hollow in S3.
    """
    return missing_links(filled(snapshots, hollow), source_of(carrier.type).kept)


def describe(
    stored: Stored,
    manifest: Manifest,
    missing: Mapping[SnapshotId, datetime],
    hollow: Mapping[SnapshotId, str],
    hold: Hold | None = None,
) -> dict[str, Any]:
    """Return the fields of a snapshot for a record. size: bytes of its data files.

    missing: see missing_of. hollow: see catalog.hollow. hold: in force, if asked for.
    """
    link, lack = missing.get(stored.id), hollow.get(stored.id)
    places = [name for name, there in (("local", stored.local), ("s3", stored.s3)) if there]
    return {
        "id": str(stored.id),
        "kind": stored.id.kind,
        "size": manifest.stored_size,
        "place": places,
        **({} if link is None else {"missing": rfc3339(link)}),
        **({} if lack is None else {"hollow": lack}),
        **({} if hold is None else {"held": hold.how}),
    }


def _stored(
    catalog: Catalog, carrier: Carrier, patterns: Sequence[str]
) -> Iterator[tuple[Record, BackupError | None]]:
    elsewhere = _elsewhere(catalog.storage)
    newest: dict[ObjectId, CarriedObject] = {}
    holders: dict[ObjectId, list[dict[str, Any]]] = {}
    snapshots = catalog.snapshots(carrier)
    hollow = catalog.hollow.of(carrier)
    missing = missing_of(carrier, snapshots, hollow)
    for snapshot in snapshots:
        try:
            manifest = catalog.manifest(carrier, snapshot)
        except BackupError as error:
            yield record_of(carrier), error
            continue
        described = describe(snapshot, manifest, missing, hollow)
        for carried in manifest.objects:
            newest[carried.id] = carried
            holders.setdefault(carried.id, []).append(described)
    if not snapshots and (foreign := catalog.foreign(carrier)):
        yield record_of(carrier), all_unsigned(carrier, foreign)
    for object_id, carried in newest.items():
        if selected(patterns, str(object_id)):
            record = Record.of(
                object_id,
                **carried.facts,
                size=carried.size,
                carrier=carrier,
                stored=True,
                snapshots=holders[object_id],
                **elsewhere,
            )
            yield record, None


def _record(found: Found | Unreadable, source_type: str) -> tuple[Record, BackupError | None]:
    carrier = {} if found.carrier in (None, str(found.id)) else {"carrier": found.carrier}
    if isinstance(found, Unreadable):
        return of_source(found.id, source_type, **carrier), found.error
    size = {} if found.size is None else {"size": found.size}
    return Record.of(found.id, **found.facts, **size, **carrier), None


def _elsewhere(storage: Storage) -> dict[str, str]:
    """Return the fields of a record that say what was read in place of our own snapshots."""
    return {
        **({"s3_prefix": storage.prefix} if storage.foreign else {}),
        **({"store": storage.store} if storage.asked else {}),
        **({"as_of": rfc3339(storage.as_of)} if storage.as_of else {}),
    }
