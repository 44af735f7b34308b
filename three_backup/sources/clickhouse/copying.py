"""The keys of a copy of a snapshot in another store, whose `.backup` names its base there."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.sources.clickhouse import chain, stored
from three_backup.sources.clickhouse.attempt import links
from three_backup.sources.jobs import CopiedKey, CopyJob


def copied(job: CopyJob) -> Iterator[CopiedKey]:
    manifest, folder = job.manifests[-1], chain.folders(job.manifests)[-1]
    about = f"{manifest.carrier}: snapshot {manifest.snapshot}"
    _, found = stored.verified(job.source, folder, about)
    link = links(manifest.facts)[-1]
    if (found.keys, found.size) != (link.keys, link.size):
        raise BackupError(
            "clickhouse.incomplete",
            f"{about}: {job.source.place(folder)} holds {found.keys} keys of {found.size} bytes, "
            f"but {link.keys} of {link.size} bytes were stored",
            "it is not copied; the next base makes up for it",
        )
    for key in job.source.all_keys(f"{folder}/"):
        if key.key.removeprefix(f"{folder}/") not in (stored.MANIFEST, stored.LOCK):
            yield CopiedKey(key.key, key.size)
    body = stored.manifest(job.source, folder, about)
    if len(job.manifests) > 1:
        body = stored.rebased(body, chain.places(job.target, job.manifests, job.settings)[-2])
    yield CopiedKey(f"{folder}/{stored.MANIFEST}", len(body), body)
