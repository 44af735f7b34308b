"""ClickHouse as a source: what the tools see of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.findings import Finding
from three_backup.model.kept import Kept
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.base import Found, Planned, Restored, Restorer, Unreadable
from three_backup.sources.comparing import CompareJob, Comparing
from three_backup.sources.jobs import (
    CheckJob,
    ClearJob,
    CopiedKey,
    CopyJob,
    DirectJob,
    DrillJob,
    RestoreJob,
    Say,
    Wanted,
)
from three_backup.sources.looking import Content, LookedInto, Looking
from three_backup.sources.preparing import Preparation

if TYPE_CHECKING:
    from three_backup.sources.clickhouse.relations import KnownServer


class ClickhouseSource:
    """The server that `clickhouse-client` finds, by CLICKHOUSE_* or its own configuration."""

    type = "clickhouse"
    kept = Kept.DIRECT
    content = Content.ROWS
    subtypes = ("table", "view")
    akin: tuple[str, ...] = ()
    runs_sql = False
    programs = ("clickhouse-client",)

    def discover(
        self, patterns: Sequence[str], source_settings: Settings, say: Say
    ) -> Iterator[Found | Unreadable]:
        from three_backup.sources.clickhouse.discover import discover

        return discover(patterns, source_settings)

    def broken_chain(
        self, live: Sequence[tuple[Mapping[str, Any], Settings]], newest: Manifest
    ) -> str | None:
        """Compare engines only.

        A table of another name or server is another object, and take() checks what is stored.
        """
        engines = {record.get("engine") for record, _ in live}
        before = newest.objects[0].facts.get("engine")
        return None if engines == {before} else f"its engine was {before} in the newest snapshot"

    def definition(self, manifest: Manifest) -> Mapping[str, Any]:
        """Return nothing: the server stores the statement with its data."""
        return {}

    def prepare(self, environ: Mapping[str, str]) -> Preparation:
        from three_backup.sources.clickhouse.prepare import prepare

        return prepare(environ)

    def check(self, job: CheckJob, store: Store | None, folder: str) -> Iterator[Finding]:
        from three_backup.sources.clickhouse.check import check

        return check(job, store, folder)

    def take(self, job: DirectJob) -> Manifest:
        from three_backup.sources.clickhouse.backup import take

        return take(job)

    def clear(self, job: ClearJob) -> None:
        from three_backup.sources.clickhouse.backup import clear

        clear(job)

    def copied(self, job: CopyJob) -> Iterator[CopiedKey]:
        from three_backup.sources.clickhouse.copying import copied

        return copied(job)

    def reading(self, store: Store) -> Restorer:
        from three_backup.sources.clickhouse.relations import KnownServer

        return _Restorer(store, KnownServer())

    def looking(self, store: Store) -> LookedInto:
        return _Look(store)


@dataclass(frozen=True, slots=True)
class _Look:
    store: Store

    def look(self, job: RestoreJob) -> AbstractContextManager[Looking]:
        from three_backup.sources.clickhouse.look import look

        return look(job, self.store)

    def compare(self, job: CompareJob) -> AbstractContextManager[Comparing]:
        from three_backup.sources.clickhouse.compare import compare

        return compare(job, self.store)


@dataclass(frozen=True, slots=True)
class _Restorer:
    store: Store
    server: "KnownServer"

    def restore(self, job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
        from three_backup.sources.clickhouse.restore import restore

        return restore(job, self.store, self.server)

    def plan(self, job: RestoreJob) -> Iterator[tuple[Wanted, Planned | BackupError]]:
        from three_backup.sources.clickhouse.plan import plan

        return plan(job, self.store)

    def drill(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.clickhouse.drill import drill

        return drill(job, self.store)

    def read_through(self, job: DrillJob) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
        from three_backup.sources.clickhouse.drill import read_through

        return read_through(job, self.store)
