"""The restore of one object, as it stands before anything is changed."""

import hashlib
from dataclasses import dataclass
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.filling import filled
from three_backup.sources.clickhouse.options import cluster_of
from three_backup.sources.clickhouse.relations import (
    RESTORING,
    SYSTEM,
    KnownServer,
    Listed,
    Server,
    relations,
)
from three_backup.sources.jobs import RestoreJob, Wanted


@dataclass(frozen=True, slots=True)
class Task:
    """One object that is being restored."""

    job: RestoreJob
    client: Client
    server: Server
    store: Store
    wanted: Wanted
    target: sql.Relation
    beside: sql.Relation  # where it is restored to, before it is moved to the target
    everywhere: str  # the clause ON CLUSTER, or empty
    before: Listed | None  # what had the target's name, None for nothing
    left: Listed | None  # what a killed restore of the target left at `beside`
    # The table that a materialized view writes to; None for one with own rows and for all else.
    fills: str | None

    @property
    def about(self) -> str:
        return str(self.wanted.target)

    @property
    def id(self) -> str:
        """The beginning of the ids of its operations."""
        return f"three_backup{self.beside.name}"

    @property
    def manifests(self) -> list[Manifest]:
        return [files.manifest for files in self.job.chain]


def prepare(
    job: RestoreJob, store: Store, wanted: Wanted, known: KnownServer | None = None
) -> Task:
    """Return the work of one restore; changes nothing yet.

    Raises BackupError if the target is in the way or belongs to another cluster.
    """
    client = connect(str(wanted.target), store.storage)
    server = (known or KnownServer()).read(client, job.source_settings)
    target = sql.relation(wanted.target)
    if wanted.target.level1 != server.cluster:
        raise BackupError(
            "clickhouse.cluster",
            f"{wanted.target}: the server here belongs to cluster {server.cluster}",
            f"restore with --level1 {server.cluster}, or set CLICKHOUSE_HOST to the other one",
        )
    _check_system(wanted, target)
    unfinished = _unfinished(wanted)
    there = {} if target.database == SYSTEM else relations(client, [target, unfinished])
    before = there.get(target)
    if before is not None and not job.overwrite:
        raise BackupError(
            "clickhouse.exists",
            f"{wanted.target}: there is one already",
            "replace it with --overwrite, or restore beside it with --level3-suffix",
        )
    return Task(
        job,
        client,
        server,
        store,
        wanted,
        target,
        target if _starts_in_place(job, target, before) else unfinished,
        cluster_of(wanted.target, job.source_settings),
        before,
        there.get(unfinished),
        filled(store, [files.manifest for files in job.chain], wanted),
    )


def _check_system(wanted: Wanted, target: sql.Relation) -> None:
    if wanted.object.level2 == SYSTEM and sql.relation(wanted.object) != target:
        raise BackupError(
            "clickhouse.system",
            f"{wanted.target}: what belongs to the server comes back under its own name only",
            f"restore {wanted.object} without another name; what is there stays as it is, unless "
            "--overwrite replaces it",
        )


def _unfinished(wanted: Wanted) -> sql.Relation:
    """Return the name, beside the target, of what is not restored to its end."""
    digest = hashlib.sha256(str(wanted.target).encode("utf-8", "surrogatepass")).hexdigest()
    return sql.Relation(wanted.target.level2, f"{RESTORING}{digest[:16]}")


def _starts_in_place(job: RestoreJob, target: sql.Relation, before: Listed | None) -> bool:
    """Return whether to restore to the target at once, as a new replicated table has to.

    Its path in Keeper may hold its name, and it could not be renamed then.
    """
    if target.database == SYSTEM:
        return True
    facts: dict[str, Any] = dict(job.chain[-1].manifest.objects[0].facts)
    return before is None and str(facts.get("engine", "")).startswith("Replicated")
