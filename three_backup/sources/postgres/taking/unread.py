"""What becomes of tables whose names, and so their settings, are not known."""

from collections.abc import Mapping

from three_backup.sources.jobs import SnapshotJob
from three_backup.sources.postgres.classes import Classes, place_of
from three_backup.sources.postgres.index import Place
from three_backup.sources.postgres.mapping import FileMap, Unread

_FATE = {
    Place.S3: "its tables are stored, but cannot be restored one by one",
    Place.LOCAL: "its tables stay on this host, because some of them have to",
    Place.NONE: "its tables are left out, because some of them are disabled",
}


def unread_of(*maps: FileMap) -> dict[int, Unread]:
    return {oid: one for found in maps for oid, one in found.unread.items()}


def classes_of(job: SnapshotJob, *maps: FileMap) -> Classes:
    """A database that cannot be read is judged by what the configuration says of its tables."""
    unread = {
        oid: [place_of(one) for prefix in known.prefixes for one in job.settings_below(prefix)]
        for oid, known in unread_of(*maps).items()
    }
    return Classes(maps, job.settings, unread)


def say_unread(job: SnapshotJob, unread: Mapping[int, Unread], classes: Classes) -> None:
    for oid, one in unread.items():
        fate = _FATE[classes.of_unknown(oid)]
        job.say(f"{job.carrier}: {one.error.message}; {fate}; {one.error.hint}")
