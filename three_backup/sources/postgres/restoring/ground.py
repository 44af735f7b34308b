"""The ground on which a scratch server runs: its programs, its user and its folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from three_backup.sources.jobs import RestoreJob
from three_backup.sources.postgres.chain.opened import OpenedChain
from three_backup.sources.postgres.replaying.recovery import Replay
from three_backup.sources.postgres.scratch.binaries import Binaries, find_binaries
from three_backup.sources.postgres.scratch.folder import scratch_folder
from three_backup.sources.postgres.scratch.server import (
    ScratchServer,
    can_enter,
    scratch_server,
    scratch_user,
)

_PUBLIC_FOLDER = Path("/var/tmp")  # noqa: S108  what is made there is private


@dataclass(frozen=True, slots=True)
class Ground:
    """The place where the scratch server runs, and all that each attempt shares."""

    chain: OpenedChain
    binaries: Binaries
    parent: Path
    user: str | None
    superuser: str
    verify: bool

    @classmethod
    def of(cls, job: RestoreJob, chain: OpenedChain, *, make: bool) -> Self:
        settings, facts = job.source_settings, job.chain[-1].manifest.facts
        user = scratch_user(settings.scratch_user)
        return cls(
            chain=chain,
            binaries=find_binaries(int(facts["version"]) // 10000, settings.pg_bindir, os.environ),
            parent=scratch_parent(settings.scratch_dir, job.work_dir, user, make=make),
            user=user,
            superuser=str(facts["superuser"]),
            verify=job.verify,
        )

    @contextmanager
    def server(
        self, relations: set[str], databases: set[str] | None, replay: Replay | None
    ) -> Iterator[ScratchServer]:
        """Lay out the relations in a folder of their own, and run the server there."""
        recover = None if replay is None else replay.recover
        verifying = self.binaries if self.verify else None
        with scratch_folder(self.parent, self.user) as folder:
            self.chain.lay_out(relations, databases, folder, self.user, verifying)
            with scratch_server(
                self.binaries, folder, self.user, self.superuser, recover
            ) as server:
                yield server


def scratch_parent(
    configured: Path | None, work_dir: Path, user: str | None, *, make: bool
) -> Path:
    """Return where to make the scratch folder; the server's user must be able to enter it."""
    if configured is not None:
        return configured
    if not make and not work_dir.is_dir():
        return _PUBLIC_FOLDER
    work_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    return work_dir if can_enter(work_dir, user) else _PUBLIC_FOLDER
