"""Plans a restore: asks LXD and reads the snapshots' manifests, makes nothing."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.model import hashed_stream
from three_backup.sources.base import Planned
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd import client, points
from three_backup.sources.lxd.points import Sent
from three_backup.sources.lxd.receive import Work, prepare
from three_backup.sources.lxd.restore import check_replaceable


def plan(job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _plan(prepare(job, wanted))
        except BackupError as error:
            yield wanted, error


def _plan(work: Work) -> Planned:
    dataset = client.dataset(work.wanted.target)  # raises unless the pool is on ZFS
    notes = tuple(work.target.check())
    work.target.check_allowed()
    there = client.names_beside(work.wanted.target)
    is_there, aside = (one.level3 in there for one in (work.wanted.target, work.aside))
    replaces = is_there or aside
    if replaces:
        check_replaceable(work, aside=is_there and aside)
    read_from = _read_from(work)
    facts = {
        "bytes_read": sum(read_from.values()),
        "read_from": read_from,
        "names": [dataset],
        "creates": [],
        "replaces": replaces,
    }
    return Planned(facts, notes)


def _read_from(work: Work) -> dict[str, int]:
    if work.job.at_source:
        sent = Sent(client.dataset(work.wanted.object), work.job.chain[-1].manifest.snapshot)
        return {"local": points.size_of_stream(sent, work.about)}
    streams = (files.manifest.file(hashed_stream.STREAM) for files in work.job.chain)
    return {"s3": sum(stream.size for stream in streams if stream is not None)}
