"""Adopts snapshots in S3 that manifest_key did not sign, once all of them was read."""

from collections.abc import Iterator, Sequence
from functools import partial

from three_backup.catalog.carriers import can_hold, record_of
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError, UsageError
from three_backup.host.locks import carrier_lock
from three_backup.keeping import keeping_of, moments
from three_backup.model.objects import Carrier, can_match_below, selected
from three_backup.model.records import Record
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.pipe import Invocation, translated
from three_backup.sources import SOURCES
from three_backup.sources.jobs import DrillJob

Adopted = tuple[Record, BackupError | None]
"""A record of a carrier, and why it could not be adopted."""


def adopted(
    invocation: Invocation, catalogs: Sequence[Catalog], patterns: Sequence[str]
) -> Iterator[Adopted]:
    """Adopt what the patterns select, carrier by carrier; each record tells what was signed."""
    for catalog in catalogs:
        if catalog.storage.manifest_key is None:
            raise UsageError(
                "verify.no_key",
                "there is no key to sign with",
                "name a file that has one: manifest_key_file",
            )
        catalog.sign_owner()
        for carrier in _carriers(catalog, patterns):
            record, error = _adopted(invocation, catalog, carrier, catalog.foreign(carrier))
            if error or record.fields["signed"] or record.fields.get("signed_log"):
                yield record, error


def _carriers(catalog: Catalog, patterns: Sequence[str]) -> Iterator[Carrier]:
    for source in SOURCES:
        if not any(can_match_below(pattern, source.type) for pattern in patterns):
            continue
        for carrier in catalog.carriers(source.type):
            if can_hold(carrier, partial(selected, patterns)):
                yield carrier


def _adopted(
    invocation: Invocation, catalog: Catalog, carrier: Carrier, foreign: frozenset[SnapshotId]
) -> Adopted:
    record, signed = record_of(carrier), list[SnapshotId]()
    try:
        with translated():
            for last in _ends(catalog, carrier) if foreign else ():
                links = _read_through(invocation, last)
                wanted = [each for each in links if each.snapshot in foreign.difference(signed)]
                with carrier_lock(catalog.storage.local_dir, carrier):
                    for manifest in wanted:
                        catalog.sign(manifest)
                        signed.append(manifest.snapshot)
            logged = moments.sign_log(catalog, carrier)
    except BackupError as error:
        return record, error
    log = {"signed_log": logged} if logged else {}
    return record.with_fields(signed=sorted(map(str, signed)), **log), None


def _ends(catalog: Catalog, carrier: Carrier) -> list[Snapshot]:
    """Return the snapshots that no other builds on: each chain is read once."""
    stored = [each for each in catalog.snapshots(carrier) if each.s3]
    parents = {each.id.parent for each in stored}
    ends = [each for each in stored if each.id.time not in parents]
    return [Snapshot(catalog, carrier, each) for each in ends]


def _read_through(invocation: Invocation, last: Snapshot) -> list[Manifest]:
    """Read all of a chain and compare its hashes; return its manifests. Raises BackupError."""
    settings = invocation.configuration.source_settings(last.carrier.type)
    with last.undisturbed(), invocation.bar(last.carrier, None) as progress:
        chain = last.chain()
        job = DrillJob(
            objects=chain[-1].manifest.objects,
            chain=chain,
            content=False,
            name="adoption",
            source_settings=settings,
            work_dir=settings.scratch_dir or last.catalog.storage.local_dir / "scratch",
            advance=progress,
            say=invocation.say,
            store=last.catalog.s3,
        )
        for _, outcome in keeping_of(last.carrier.type).restorer(last.catalog).read_through(job):
            if isinstance(outcome, BackupError):
                raise outcome
    return [files.manifest for files in chain]
