"""Read the parent of an incremental, and explain why a parent cannot be used."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.snapshots import Manifest
from three_backup.sources.base import ParentUnusableError
from three_backup.sources.jobs import SnapshotFiles
from three_backup.sources.lacking import DISABLED
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.classes import Classes, place_of, rose
from three_backup.sources.postgres.index import BACKUP_MANIFEST, INDEX, File, Form, Index, Tier
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.pack import decompress_file
from three_backup.sources.postgres.preflight import SUMMARIZE
from three_backup.sources.postgres.wal.names import position

_MAJOR = re.compile(r"PostgreSQL (\d+)")
_CLOSE = {Tier.LOCAL: "on this host only", Tier.NONE: "in no snapshot"}


@dataclass(frozen=True, slots=True)
class Parent:
    """The parent snapshot of an incremental."""

    manifest: Manifest
    index: Index
    server_manifest: bytes  # made by the server, and uploaded to it before the incremental

    @property
    def start_lsn(self) -> str:
        return str(self.manifest.facts["start_lsn"])

    @property
    def end(self) -> int:
        return position(self.manifest.facts["end_lsn"])


def why_broken(live: Mapping[str, Any], newest: Manifest) -> str | None:
    """Explain why no incremental can follow newest; None if one can. live: `Cluster.facts`."""
    facts = newest.facts
    if live["system_identifier"] != facts["system_identifier"]:
        return f"the system identifier is {live['system_identifier']} now"
    if _major(live["server"]) != _major(newest.server):
        return f"the snapshot is of {newest.server}, the server is {live['server']}"
    if live["timeline"] != facts["timeline"]:
        return f"the server switched from timeline {facts['timeline']} to {live['timeline']}"
    if not live["in_recovery"] and position(live["lsn"]) < position(facts["end_lsn"]):
        return f"the server was set back to {live['lsn']}, before the snapshot"
    if not live["summarize_wal"]:
        return f"summarize_wal is off, without which there are only bases ({SUMMARIZE})"
    return None


def why_risen(live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest) -> str | None:
    """Explain which object may now go farther away than newest keeps it; None if none may.

    It tells the plan, by names, what refuse_risen() decides when a snapshot is taken.
    """
    places = {str(carried.id): Tier(carried.facts["class"]) for carried in newest.objects}
    places.update(dict.fromkeys(newest.facts[DISABLED], Tier.NONE))
    for record, settings in live:
        before = places.get(record["id"])
        if before is not None and rose(before, place_of(settings)):
            return f"{record['id']} is to be kept farther away than in the newest snapshot"
    return None


def read_parent(files: SnapshotFiles, live: Mapping[str, Any]) -> Parent:
    """Read the parent. Raises ParentUnusableError if no incremental can follow it."""
    reason = why_broken(live, files.manifest)
    if reason is not None:
        raise unusable(reason)
    where = f"{files.manifest.carrier} {files.manifest.snapshot}"
    try:
        return Parent(
            files.manifest,
            index_file.load(files.read(INDEX), where),
            decompress_file(files.read(BACKUP_MANIFEST)),
        )
    except UnreachableError:
        raise
    except (BackupError, ValueError) as error:
        raise unusable(f"{where} cannot be read ({error})") from error


def refuse_risen(parent: Parent, classes: Classes) -> None:
    """Raise ParentUnusableError if a table may now go farther away than the parent stored it."""
    for file in parent.index.files.values():
        if file.place not in _CLOSE:
            continue
        relation = relation_of(file.path)
        place = None if relation is None else classes.of_relation(relation)
        if place is not None and rose(file.place, place):
            raise _risen(file, parent)


def refuse_unfollowable(parent: Parent, files: Mapping[str, File]) -> None:
    """Raise ParentUnusableError if only changes came of a file that the parent cannot complete.

    The parent lacks the file, or keeps it closer than it may go now.
    """
    for file in files.values():
        if file.form not in (Form.BLOCKS, Form.UNCHANGED, Form.SAME):
            continue
        before = parent.index.files.get(file.path)
        if before is None:
            raise unusable(f"it lacks {file.path}, of which only changes came")
        if rose(before.place, file.place):
            raise _risen(before, parent)


def unusable(reason: str) -> ParentUnusableError:
    return ParentUnusableError("postgres.parent_unusable", reason)


def _risen(file: File, parent: Parent) -> ParentUnusableError:
    relation = relation_of(file.path)
    owners = [
        str(object_id) for object_id, files in parent.index.objects.items() if relation in files
    ]
    name = owners[0] if owners else file.path
    return unusable(f"{name} was stored {_CLOSE[file.place]} until now")


def _major(server: str) -> str:
    match = _MAJOR.match(server)
    return match[1] if match else server
