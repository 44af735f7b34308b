"""Plans a restore: reads the `.backup` files of the chain and lists its keys, writes nothing."""

from collections.abc import Iterator

from three_backup.errors import BackupError
from three_backup.s3.store import Store
from three_backup.sources.base import Planned
from three_backup.sources.clickhouse import chain, sql, stored
from three_backup.sources.clickhouse.restore import DATABASE
from three_backup.sources.clickhouse.task import Task, prepare
from three_backup.sources.jobs import RestoreJob, Wanted


def plan(job: RestoreJob, store: Store) -> Iterator[tuple[Wanted, Planned | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _plan(prepare(job, store, wanted))
        except BackupError as error:
            yield wanted, error


def _plan(work: Task) -> Planned:
    """Return what a restore would do. Raises BackupError if a file of the chain is not in S3."""
    size = sum(_verified(work))
    settings = work.job.source_settings
    # Only for its errors: nothing is written.
    list(chain.outdated(work.store, work.manifests, settings, work.about))
    database = work.target.database
    known = work.client.ask(DATABASE.format(sql.literal(database)))
    facts = {
        "bytes_read": size,
        "read_from": {"s3": size},
        "names": [f"{database}.{work.target.name}"],
        "creates": [] if known else [f"database {database}"],
        "replaces": work.before is not None,
    }
    return Planned(facts)


def _verified(work: Task) -> Iterator[int]:
    """Yield the bytes that each link of the chain adds, once all its files are seen in S3."""
    for folder in chain.folders(work.manifests):
        written, _ = stored.verified(work.store, folder, work.about)
        yield sum(written.sizes.values())
