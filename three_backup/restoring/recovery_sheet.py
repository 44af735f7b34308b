"""The recovery sheet: what it takes to come back when the host and all that lay on it are gone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, tzinfo
from textwrap import indent

from three_backup import __version__
from three_backup.catalog.catalog import Catalog
from three_backup.config.configuration import Configuration
from three_backup.errors import BackupError
from three_backup.model.local_time import local
from three_backup.model.objects import Carrier
from three_backup.model.storage import Storage
from three_backup.screen.formats import counted
from three_backup.sources import SOURCES

_SHEET = """\
Recovery sheet of {host}, {time}

Whoever has this sheet can read, change and delete these backups. Keep it in a safe, away
from this host and from the bucket, and print a new one when a key changes.

1. Take a host with the server programs of what is to come back, and install three_backup
   {version} or newer there: its README says how.

2. Write these lines to /etc/three_backup.yaml, and run chmod 600 /etc/three_backup.yaml:

{configuration}

3. Say who may restore, in /etc/.env.restore, mode 0600: PGUSER and PGPASSWORD of a superuser
   of PostgreSQL, CLICKHOUSE_USER and CLICKHOUSE_PASSWORD. No such password is in S3.

4. Look, before anything writes to the bucket, and then bring it back:

       tb-list --stored --snapshots
       man three_backup-recovery

   What lay there when this was printed:

{stored}
"""
_MOST = 20
"""So many carriers of a source are named."""


def recovery_sheet(
    configuration: Configuration,
    catalogs: Sequence[Catalog],
    host: str,
    now: datetime,
    zone: tzinfo,
) -> str:
    """Return the sheet. catalogs: of every storage that has a bucket."""
    sections = "\n".join(_sections(configuration))
    stored = "\n".join(line for catalog in catalogs for line in _stored(catalog, zone))
    return _SHEET.format(
        host=host,
        time=local(now, zone),
        version=__version__,
        configuration=indent(sections, " " * 7),
        stored=indent(stored or "nothing", " " * 7),
    )


def _sections(configuration: Configuration) -> Iterator[str]:
    """Yield what the configuration must say of storages, further stores first."""
    stores = {place.store: place for place in configuration.places_of_copies()}
    if stores:
        yield "- stores:"
    for name, place in stores.items():
        yield f"    {name}:"
        given = configuration.gives_prefix(name)
        yield from _lines(place if given else replace(place, prefix=""), " " * 8)
    everything, *others = configuration.of_sections().items()
    for pattern, settings in (everything, *others):
        if pattern == everything[0] or settings.storage != everything[1].storage:
            yield f'- "{pattern}":'
            yield from _lines(settings.storage, " " * 4)
            yield from [f"    copy_to: {settings.copy_to}"] if settings.copy_to else []


def _lines(storage: Storage, margin: str) -> Iterator[str]:
    """Yield the options of a storage; botocore may know the keys itself."""
    signing, encryption = storage.manifest_key, storage.encryption_key
    given = {
        "s3_endpoint": storage.endpoint,
        "s3_region": storage.region,
        "s3_bucket": storage.bucket,
        "s3_prefix": storage.prefix,
        "s3_addressing_style": storage.addressing_style,
        "s3_access_key": storage.access_key or "(the host had it elsewhere: write it here)",
        "s3_secret_key": storage.secret_key or "(likewise)",
        "manifest_key": signing and " ".join(key.hex() for key in signing.keys),
        "encryption_key": encryption and " ".join(key.hex() for key in encryption.keys),
    }
    return (f"{margin}{name}: {value}" for name, value in given.items() if value)


def _stored(catalog: Catalog, zone: tzinfo) -> Iterator[str]:
    try:
        for source in SOURCES:
            carriers = catalog.carriers(source.type)
            for carrier in carriers[:_MOST]:
                yield from _of_carrier(catalog, carrier, zone)
            if len(carriers) > _MOST:
                yield f"and {len(carriers) - _MOST} more of {source.type}"
    except BackupError as error:
        yield f"({error})"


def _of_carrier(catalog: Catalog, carrier: Carrier, zone: tzinfo) -> Iterator[str]:
    snapshots = [stored for stored in catalog.snapshots(carrier) if stored.s3]
    if snapshots:
        newest = local(snapshots[-1].id.time, zone)
        yield f"{carrier}: {counted(len(snapshots), 'snapshot')}, the newest of {newest}"
