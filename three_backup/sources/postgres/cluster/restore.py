"""Restores a whole cluster as a complete data directory, with a manifest of all its files."""

import os
from collections.abc import Mapping
from pathlib import Path

from crc32c import crc32c

from three_backup.errors import BackupError
from three_backup.host.durable import sync_disks
from three_backup.sources.base import Planned, Restored
from three_backup.sources.jobs import WholeJob
from three_backup.sources.postgres.chain.links import size_of
from three_backup.sources.postgres.chain.opened import OpenedChain, Whole
from three_backup.sources.postgres.chain.output_manifest import (
    Listed,
    listed,
    verify,
    write_manifest,
)
from three_backup.sources.postgres.cluster.building_site import (
    BuildingSite,
    building_site,
    check_folders,
    check_room,
)
from three_backup.sources.postgres.cluster.forced_settings import forced_settings
from three_backup.sources.postgres.cluster.left_out import SCRIPT, LeftOut, left_out_of
from three_backup.sources.postgres.cluster.replayed import replay_cluster
from three_backup.sources.postgres.cluster.restored_configuration import (
    configuration_files,
    configuration_notes,
    recovery_settings,
)
from three_backup.sources.postgres.index import Index
from three_backup.sources.postgres.replaying.landing import replay_of
from three_backup.sources.postgres.replaying.recovery import Replay
from three_backup.sources.postgres.scratch.binaries import Binaries, find_binaries
from three_backup.sources.postgres.scratch.folder import acting_as
from three_backup.sources.postgres.scratch.server import can_enter, scratch_user
from three_backup.sources.postgres.scratch.wal import check_tablespaces

_ON_DISK = 4096


def restore_cluster(job: WholeJob) -> Restored:
    """Fill job.directory; facts: bytes_read, left_out.

    The files move into place, all durable, only when they are complete; and, where job.verify
    asks for it, after pg_verifybackup has accepted them.
    """
    user, binaries = _owner_and_binaries(job)
    chain = OpenedChain(job.chain, job.advance, lambda size: None)
    whole, tablespaces = chain.whole(), _placed(chain.newest, job.moved)
    with building_site(job.directory, tablespaces, user) as site:
        check_room(_needed(site, chain.newest, whole))
        files = _lay_out(site, chain, whole)
        if job.landing is None:
            check_tablespaces(binaries, site.combined, site.user, site.tablespaces)
        left_out = left_out_of(chain.newest, whole.left_out)
        replay = _replay(job)
        notes = _complete(site, chain, files, left_out, binaries, recovers=replay is None)
        if job.verify:
            verify(site.combined, binaries, site.user)
        sync_disks(site.folders)
        restored: dict[str, object] = {}
        if replay is not None:
            superuser = str(job.chain[-1].manifest.facts["superuser"])
            reached = replay_cluster(replay, site, binaries, superuser, exact=job.exact)
            restored["moment"] = reached.facts
            notes += reached.notes
        site.move_in()
    restored["bytes_read"] = chain.bytes_read
    if left_out.objects:
        restored["left_out"] = [str(object_id) for object_id in left_out.objects]
    return Restored(restored, (*notes, *left_out.notes(job.directory)))


def _replay(job: WholeJob) -> Replay | None:
    if job.landing is None or job.store is None:
        return None
    # The bar counts the snapshot's bytes; those of WAL only show that the restore lives.
    return replay_of(job.landing, job.chain[-1].manifest, job.store, lambda size: job.advance(0))


def plan_cluster(job: WholeJob) -> Planned:
    user, _ = _owner_and_binaries(job)
    chain = OpenedChain(job.chain, job.advance, lambda size: None)
    whole, tablespaces = chain.whole(), _placed(chain.newest, job.moved)
    site = BuildingSite(job.directory, tablespaces, user)
    check_folders(site)
    reads = chain.reads_of(whole.links)
    left_out = left_out_of(chain.newest, whole.left_out)
    facts = {
        "bytes_read": reads.total(),
        "read_from": dict(reads),
        "names": [str(folder) for folder in site.folders],
        "creates": [str(folder) for folder in site.folders if not folder.exists()],
    }
    return Planned(facts, tuple(left_out.notes(job.directory)))


def _owner_and_binaries(job: WholeJob) -> tuple[str | None, Binaries]:
    user = _owner(job)
    major = int(job.chain[-1].manifest.facts["version"]) // 10000
    binaries = find_binaries(major, job.source_settings.pg_bindir, os.environ)
    _check_reach(binaries, user)
    return user, binaries


def _owner(job: WholeJob) -> str | None:
    if job.owner is not None and os.geteuid() != 0:
        raise BackupError(
            "postgres.owner",
            f"{job.directory}: only root can give it to user {job.owner}",
            "run tb-restore as root, or as that user without --pgdata-owner",
        )
    return scratch_user(job.owner or job.source_settings.scratch_user)


def _check_reach(binaries: Binaries, user: str | None) -> None:
    if not can_enter(binaries.folder, user):
        raise BackupError(
            "postgres.scratch_reach",
            f"postgres: user {user}, who is to own the data directory, cannot enter "
            f"{binaries.folder}",
            "open its parents for that user (chmod o+x), or set pg_bindir",
        )


def _placed(newest: Index, moved: Mapping[str, str]) -> dict[int, Path]:
    """Return the new place, by oid, of each tablespace outside of the data directory."""
    outside = {oid: path for oid, path in newest.tablespaces.items() if path.startswith("/")}
    unknown = set(moved).difference(outside.values())
    if unknown:
        known = ", ".join(sorted(outside.values())) or "none"
        raise BackupError(
            "postgres.tablespace",
            f"{min(unknown)}: no tablespace of the snapshot lies there",
            f"its tablespaces lie in: {known}",
        )
    return {oid: Path(moved.get(path, path)) for oid, path in outside.items()}


def _needed(site: BuildingSite, newest: Index, whole: Whole) -> dict[Path, int]:
    """Return how many bytes each folder will hold."""
    needed = dict.fromkeys(site.folders, 0)
    for path in whole.paths:
        needed[_folder_of(site, path)] += _on_disk(size_of(newest.files[path]))
    return needed


def _on_disk(size: int) -> int:
    return -(-size // _ON_DISK) * _ON_DISK


def _folder_of(site: BuildingSite, path: str) -> Path:
    top, _, rest = path.partition("/")
    oid = rest.partition("/")[0]
    if top == "pg_tblspc" and oid.isdigit():
        return site.tablespaces.get(int(oid), site.directory)
    return site.directory


def _lay_out(site: BuildingSite, chain: OpenedChain, whole: Whole) -> list[Listed]:
    """Put all files together, those of a tablespace in its own folder."""
    pointers = site.combined / "pg_tblspc"
    with acting_as(site.user):
        for folder in (site.combined, pointers):
            folder.mkdir(mode=0o700)
        for oid, folder in site.tablespaces.items():
            (pointers / str(oid)).symlink_to(folder)
    return listed(chain.lay_out_whole(whole, site.combined, site.user), site.user)


def _complete(
    site: BuildingSite,
    chain: OpenedChain,
    files: list[Listed],
    left_out: LeftOut,
    binaries: Binaries,
    *,
    recovers: bool,
) -> list[str]:
    """Add what no backup has, write the manifest, and return notes on the configuration."""
    saved, pgdata = chain.configuration(), site.combined
    configuration = {
        name: text.encode("utf-8", "surrogateescape")
        for name, text in configuration_files(saved).items()
        if not (pgdata / name).exists()
    }
    added = dict.fromkeys(left_out.files, b"") | configuration
    if left_out.relations:
        added[SCRIPT] = left_out.script(site.directory).encode()
    settings = recovery_settings(
        recovers=recovers,
        some_left_out=bool(left_out.relations),
        some_in_place=len(chain.newest.tablespaces) > len(site.tablespaces),
    ).encode()
    files += [Listed(path, len(content), crc32c(content)) for path, content in added.items()]
    write_manifest(pgdata, chain.server_manifest(), files, site.user)
    with acting_as(site.user):
        for path, content in added.items():
            _append(pgdata / path, content)
        (pgdata / "standby.signal").unlink(missing_ok=True)
        if recovers:
            _append(pgdata / "recovery.signal", b"")
        _append(pgdata / "postgresql.auto.conf", settings)
    forced = forced_settings(binaries, pgdata, site.user).encode()
    with acting_as(site.user):
        _append(pgdata / "postgresql.auto.conf", forced)
    return list(configuration_notes(saved, configuration))


def _append(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("ab") as file:
        file.write(content)
