"""Read all that a chain stores, frame by frame, and report the objects with damaged bytes."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.base import Restored
from three_backup.sources.jobs import DrillJob, SnapshotFiles
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.chain.opened import Counted
from three_backup.sources.postgres.index import INDEX, Index, Tier
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.pack import damaged_groups


def read_through(job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
    """Yield the outcome of every object of the chain.

    Raises BackupError if an index is damaged, or a file that every object needs.
    """
    chain = [Counted(files, job.advance) for files in job.chain]
    damaged: dict[ObjectId, BackupError] = {}
    for files in chain:
        for object_id, error in _damaged(files):
            damaged.setdefault(object_id, error)
    bytes_read = sum(files.bytes_read for files in chain)
    for object_id in dict.fromkeys((*(carried.id for carried in job.objects), *damaged)):
        if object_id in damaged:
            error = damaged[object_id]
            yield object_id, BackupError(error.code, f"{object_id}: {error.message}", error.hint)
        else:
            yield object_id, Restored({"bytes_read": bytes_read})


def _damaged(files: SnapshotFiles) -> Iterator[tuple[ObjectId, BackupError]]:
    """Yield the objects that one snapshot cannot give back, each with the reason."""
    for stored in files.manifest.files:
        if stored.sha256 is not None:
            files.read(stored.name)
    index = index_file.load(files.read(INDEX), str(files.manifest.snapshot))
    owners = _owners(index)
    for number, error in damaged_groups(files, index.groups):
        if index.groups[number].place is Tier.CORE or number not in owners:
            raise error
        yield from ((object_id, error) for object_id in owners[number])


def _owners(index: Index) -> dict[int, set[ObjectId]]:
    """Return the objects with files in each group, by the group's number."""
    of_relation: dict[str, set[ObjectId]] = {}
    for object_id, relations in index.objects.items():
        for relation in relations:
            of_relation.setdefault(relation, set()).add(object_id)
    owners: dict[int, set[ObjectId]] = {}
    for path, file in index.files.items():
        known = of_relation.get(relation_of(path) or "")
        if file.group is not None and known:
            owners.setdefault(file.group, set()).update(known)
    return owners
