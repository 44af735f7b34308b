"""Plans a restore: asks the daemon and reads the snapshots' manifests, makes nothing."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.sources.base import Planned
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd.datasets import points
from three_backup.sources.lxd.receive import Work, prepare
from three_backup.sources.lxd.restore import check_replaceable


def plan(job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _plan(prepare(job, wanted))
        except BackupError as error:
            yield wanted, error


def _plan(work: Work) -> Planned:
    datasets = work.client.datasets(work.wanted.target)  # raises unless the pool is on ZFS
    notes = tuple(work.target.check())
    work.target.check_allowed()
    there = work.client.names_beside(work.wanted.target)
    is_there, aside = (one.level3 in there for one in (work.wanted.target, work.aside))
    replaces = is_there or aside
    if replaces:
        check_replaceable(work, aside=is_there and aside)
    read_from = _read_from(work)
    facts = {
        "bytes_read": sum(read_from.values()),
        "read_from": read_from,
        "names": list(datasets.values()),
        "creates": [],
        "replaces": replaces,
    }
    return Planned(facts, notes)


def _read_from(work: Work) -> dict[str, int]:
    if work.job.at_source:
        source = work.wanted.object
        sent = points.copied(source, work.job.chain[-1].manifest.snapshot)
        return {"local": points.size_to_send(source, sent.values())}
    manifests = [files.manifest for files in work.job.chain]
    streams = (
        manifest.file(name) for manifest in manifests for name in points.streams_of(manifest)
    )
    return {"s3": sum(stream.size for stream in streams if stream is not None)}
