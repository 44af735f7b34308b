"""The stored chain of a restore: its indexes, and the way from them to a data directory."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.snapshots import Manifest
from three_backup.sources.base import Advance, SnapshotFiles
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.index import INDEX, Place
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.pack import PackReader
from three_backup.sources.postgres.restoring.binaries import Binaries
from three_backup.sources.postgres.restoring.chain import core_paths, places, resolve, stand_ins
from three_backup.sources.postgres.restoring.lay_out import combine, lay_out_chain, put_stand_ins
from three_backup.sources.postgres.restoring.scratch_folder import PGDATA


class OpenedChain:
    """Snapshots, the base first, whose indexes are read. bytes_read: of all that was fetched."""

    def __init__(self, chain: Sequence[SnapshotFiles], advance: Advance) -> None:
        self._files = [_Counted(files, advance) for files in chain]
        self._indexes = [
            index_file.load(files.read(INDEX), str(files.manifest.snapshot))
            for files in self._files
        ]
        self.newest = self._indexes[-1]
        self._relations: dict[str, list[str]] = {}
        for path in self.newest.files:
            relation = relation_of(path)
            if relation is not None:
                self._relations.setdefault(relation, []).append(path)

    @property
    def bytes_read(self) -> int:
        return sum(files.bytes_read for files in self._files)

    def has(self, relation: str) -> bool:
        """Whether the newest snapshot saw a file of the relation; a later one comes by WAL."""
        return relation in self._relations

    def core(self, databases: Collection[str] | None) -> set[str | None]:
        """The relations that are laid out for every restore out of these databases, or all."""
        return {relation_of(path) for path in core_paths(self.newest, databases)}

    def check(self, relations: Collection[str]) -> None:
        """Raises BackupError where these relations cannot be had: left out, or not at hand."""
        links = resolve(self._indexes, self._paths(relations))
        for files, link in zip(self._files, links, strict=True):
            if Place.LOCAL in places([link]):
                _check_local(files)

    def lay_out(
        self,
        relations: Collection[str],
        databases: Collection[str] | None,
        folder: Path,
        user: str | None,
        binaries: Binaries,
    ) -> None:
        """Make `pgdata` in the folder: these relations, and the core for databases, or for all."""
        paths = {*core_paths(self.newest, databases), *self._paths(relations)}
        links = resolve(self._indexes, paths)
        readers = [
            PackReader(files, index.groups)
            for files, index in zip(self._files, self._indexes, strict=True)
        ]
        directories = lay_out_chain(
            list(zip(readers, self._indexes, links, strict=True)), folder, user
        )
        pgdata = folder / PGDATA
        if len(directories) == 1:
            directories[0].rename(pgdata)
        else:
            combine(binaries, directories, pgdata, user, manifest=False)
            for directory in directories:
                shutil.rmtree(directory)
        put_stand_ins(stand_ins(self.newest, paths), pgdata, user)

    def _paths(self, relations: Collection[str]) -> list[str]:
        return [path for relation in relations for path in self._relations.get(relation, ())]


class _Counted:
    """The files of a snapshot, every byte that is read of them counted and reported."""

    def __init__(self, files: SnapshotFiles, advance: Advance) -> None:
        self._files = files
        self._advance = advance
        self.bytes_read = 0

    @property
    def manifest(self) -> Manifest:
        return self._files.manifest

    def read(self, name: str) -> bytes:
        return self._count(self._files.read(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        return self._count(self._files.read_range(name, offset, length))

    def _count(self, content: bytes) -> bytes:
        self.bytes_read += len(content)
        self._advance(len(content))
        return content


def _check_local(files: SnapshotFiles) -> None:
    """Raises where the pack that never leaves the host of the backup is not here."""
    try:
        files.read_range(Place.LOCAL.pack, 0, 1)
    except BackupError as error:
        raise BackupError(
            "postgres.local_only",
            f"its rows never left the host that took the snapshot, and are not here "
            f"({error.message})",
            f"restore on host {files.manifest.host}, or a snapshot that is still local",
        ) from error
