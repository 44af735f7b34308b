"""Replays archived WAL on a restored data directory, so that it starts at the wanted moment."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from three_backup.command import run
from three_backup.errors import BackupError
from three_backup.host.durable import sync_disks
from three_backup.sources.postgres.cluster.building_site import BuildingSite
from three_backup.sources.postgres.replaying.recovery import Reached, Replay
from three_backup.sources.postgres.scratch.binaries import Binaries, worker
from three_backup.sources.postgres.scratch.folder import acting_as
from three_backup.sources.postgres.scratch.server import scratch_server
from three_backup.sources.postgres.wal.names import lsn

_CONFIGURATION = ("postgresql.conf", "postgresql.auto.conf")
_OF_THE_BACKUP = ("backup_manifest", "backup_label.old", "tablespace_map.old")
"""Files that tell of the snapshot, from which the replay has led away."""


def replay_cluster(
    replay: Replay, site: BuildingSite, binaries: Binaries, superuser: str, *, exact: bool
) -> Reached:
    """Replay WAL on the combined data directory, and shut the server down cleanly.

    The cluster is on a timeline of its own then. Its configuration stays as it was.
    """
    with (
        _configuration_aside(site.combined, site.user),
        scratch_server(binaries, site.folder, site.user, superuser, replay.recover) as server,
    ):
        reached = replay.told(exact=exact)
        _refuse_drop(reached)
        argv = [binaries["pg_ctl"], "stop", "--wait", "--mode=fast", "--timeout=604800"]
        run(worker([*argv, f"--pgdata={server.pgdata}", "--silent"], site.user))
    with acting_as(site.user):
        for name in _OF_THE_BACKUP:
            (site.combined / name).unlink(missing_ok=True)
    sync_disks(site.folders)
    return reached


def _refuse_drop(reached: Reached) -> None:
    if reached.too_far is not None:
        raise BackupError(
            "postgres.drop_on_the_way",
            "postgres: a database was dropped by the first transaction after that moment, which "
            "had removed its files before it committed",
            f"restore to just before that: --lsn {lsn(reached.too_far)}",
        )


@contextmanager
def _configuration_aside(pgdata: Path, user: str | None) -> Iterator[None]:
    """Bring the configuration back after the block, which runs a server with another one."""
    kept: dict[str, bytes] = {}
    with acting_as(user):
        for name in _CONFIGURATION:
            with suppress(FileNotFoundError):
                kept[name] = (pgdata / name).read_bytes()
    yield
    with acting_as(user):
        for name, content in kept.items():
            (pgdata / name).unlink(missing_ok=True)
            (pgdata / name).write_bytes(content)
            (pgdata / name).chmod(0o600)
