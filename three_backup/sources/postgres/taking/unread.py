"""Decide the place of tables in unreadable databases, whose names and settings are unknown."""

from collections.abc import Mapping

from three_backup.sources.jobs import SnapshotJob
from three_backup.sources.postgres.classes import Classes, place_of
from three_backup.sources.postgres.index import Tier
from three_backup.sources.postgres.mapping import FileMap, Unread

_FATE = {
    Tier.S3: "its tables are stored, but cannot be restored one by one",
    Tier.LOCAL: "its tables stay on this host, because some of them have to",
    Tier.NONE: "its tables are left out, because some of them are disabled",
}


def unread_of(*maps: FileMap) -> dict[int, Unread]:
    return {oid: database for found in maps for oid, database in found.unread.items()}


def classes_of(job: SnapshotJob, *maps: FileMap) -> Classes:
    """Return the places; an unread database gets what the configuration says of its tables."""
    unread = {
        oid: [
            place_of(settings)
            for prefix in known.prefixes
            for settings in job.settings_below(prefix)
        ]
        for oid, known in unread_of(*maps).items()
    }
    return Classes(maps, job.settings, unread)


def say_unread(job: SnapshotJob, unread: Mapping[int, Unread], classes: Classes) -> None:
    for oid, database in unread.items():
        fate = _FATE[classes.of_unknown(oid)]
        job.say(f"{job.carrier}: {database.error.message}; {fate}; {database.error.hint}")
