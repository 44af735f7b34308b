"""Takes a snapshot of an instance or volume: makes a point in the daemon, a manifest of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import STREAM
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.sources.base import ParentUnusableError
from three_backup.sources.jobs import SnapshotJob
from three_backup.sources.lxd import secrets
from three_backup.sources.lxd.daemon import failures, names
from three_backup.sources.lxd.daemon.client import client_of
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.datasets.points import Sent, State
from three_backup.sources.lxd.targets.instance_configuration import OF_INSTANCES

ROOM = 1 << 20
"""Bytes that the daemon is left for its file on an instance; with 32 KiB it was known to fail."""

_OF_VOLUMES = ("config", "description", "content_type")
_OF_PROFILES = ("name", "config", "devices")
_PROFILES = "/1.0/profiles"


def take(job: SnapshotJob) -> Manifest:
    """Take a snapshot. Raises ParentUnusableError if the parent's point is not what it was."""
    object_id = ObjectId.parse(job.carrier)
    before = points.state(object_id)
    _check_writable(object_id, before)
    names.check_length(client_of(object_id.type).root(object_id.level1), object_id)
    parent = None if job.parent is None else _usable(job.parent.manifest, before)
    with _removed_on_failure(job):
        points.make(object_id, job.snapshot)
        state = points.state(object_id)
        described = describe(object_id)
        kind = _kind(object_id, described)
        if unsupported := names.why_unsupported(kind, state.parts[STREAM].type, state.below):
            raise BackupError(f"{object_id.type}.unsupported", f"{object_id}: {unsupported}")
        _warn_of_secrets(job, object_id, described)
        sent = [
            Sent(part.dataset, job.snapshot, parent, part.encrypted)
            for part in state.parts.values()
        ]
        size = state.size(job.snapshot)
        return Manifest(
            carrier=job.carrier,
            snapshot=job.snapshot,
            objects=(CarriedObject(object_id, size, {"kind": kind}),),
            files=(),
            source_size=size,
            stored_size=points.size_to_send(object_id, sent),
            facts={
                "guid": state.points[job.snapshot],
                "parent": str(parent) if parent else None,
                "dataset_guid": state.guid,
                "encrypted": state.encrypted,
                **described,
            },
            program=job.program,
            server=client_of(object_id.type).server(),
            host=job.host,
        )


def _check_writable(object_id: ObjectId, state: State) -> None:
    """Raise BackupError if the daemon could not write its file on an instance (backup.yaml).

    LXD 5.0 would wait for itself, and do nothing more with the instance until it is started anew.
    """
    if object_id.subtype == names.VOLUME:  # it has no such file
        return
    name = client_of(object_id.type).daemon.name
    part = [part for part in state.parts.values() if part.type == "filesystem"][-1:]
    for files in part:
        if files.locked:
            raise BackupError(
                f"{object_id.type}.key",
                f"{object_id}: its key is not loaded, and {name} has to write into it for a "
                "snapshot",
                f"load it: zfs load-key -r {client_of(object_id.type).root(object_id.level1)}",
            )
        if files.readonly:
            raise BackupError(
                f"{object_id.type}.readonly",
                f"{object_id}: its dataset is readonly, and {name} has to write into it for a "
                "snapshot",
                f"allow it: zfs set readonly=off {files.dataset}",
            )
        if files.available < ROOM:
            raise BackupError(
                f"{object_id.type}.full",
                f"{object_id}: it is full, with {files.available} bytes left of its size or pool, "
                f"and {name} has to write into it for a snapshot",
                f"{failures.ROOM}; its snapshots count too, unless zfs.use_refquota is set",
            )


def _usable(parent: Manifest, state: State) -> SnapshotId:
    found, why = state.points.get(parent.snapshot), ""
    if found is None:
        why = f"the point of {parent.snapshot} is gone from the pool"
    elif found != parent.facts["guid"]:
        why = f"the point of {parent.snapshot} is another one of the same name"
    elif state.encrypted != parent.facts["encrypted"]:
        why = "its encryption was changed since the newest snapshot"
    if why:
        raise ParentUnusableError(f"{parent.carrier.type}.parent", why)
    return parent.snapshot


@contextmanager
def _removed_on_failure(job: SnapshotJob) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(BackupError):  # tb-rotate reports a point that stays
            points.remove(job.carrier, job.snapshot)
        raise


def describe(object_id: ObjectId) -> dict[str, Any]:
    """Return the configuration of an object, with the profiles of an instance."""
    client = client_of(object_id.type)
    found = client.get(names.url(object_id), str(object_id))
    if object_id.subtype == names.VOLUME:
        return {"configuration": {name: found[name] for name in _OF_VOLUMES}}
    configuration = {name: found[name] for name in OF_INSTANCES}
    path = names.in_project(_PROFILES, object_id.level2, recursion="1")
    profiles = [profile for profile in client.get(path) if profile["name"] in found["profiles"]]
    return {
        "configuration": configuration,
        "expanded_devices": found["expanded_devices"],
        "profiles": [{name: profile[name] for name in _OF_PROFILES} for profile in profiles],
    }


def _kind(object_id: ObjectId, described: Mapping[str, Any]) -> str:
    content = described["configuration"].get("content_type")
    return f"{content} volume" if content else names.KINDS[object_id.subtype]


def _warn_of_secrets(job: SnapshotJob, object_id: ObjectId, described: Mapping[str, Any]) -> None:
    """Warn with a base only: once a month, not once a night."""
    sentence = secrets.warning(described, job.settings(object_id).storage)
    if sentence and job.parent is None:
        job.say(f"{job.carrier}: {sentence}")
