"""Open the stored chain of a restore: read its indexes, and make data directories of it."""

import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import Advance, SnapshotFiles
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.chain.lay_out import (
    combine,
    lay_out_chain,
    put_stand_ins,
    write_manifest,
)
from three_backup.sources.postgres.chain.links import (
    Link,
    core_paths,
    database_of,
    is_doubtful,
    places,
    resolve,
    stand_ins,
    stored_paths,
)
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    Form,
    Index,
    Tier,
)
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.pack import PackReader, decompress_file
from three_backup.sources.postgres.saved_configuration import SavedConfiguration
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.folder import PGDATA, acting_as


@dataclass(frozen=True, slots=True)
class Whole:
    """The files that a chain can give of a whole cluster."""

    links: tuple[Link, ...]
    # Paths of relation files that were disabled, or whose bytes never left another host.
    left_out: frozenset[str]


class OpenedChain:
    """A chain of snapshots, the base first, with their indexes read."""

    def __init__(self, chain: Sequence[SnapshotFiles], advance: Advance, expect: Advance) -> None:
        self._files = [Counted(files, advance) for files in chain]
        self._expect = expect
        self._indexes = [
            index_file.load(files.read(INDEX), str(files.manifest.snapshot))
            for files in self._files
        ]
        self.newest = self._indexes[-1]
        self._relations: dict[str, list[str]] = {}
        for path, file in self.newest.files.items():
            relation = relation_of(path)
            if relation is not None and not is_doubtful(file):
                self._relations.setdefault(relation, []).append(path)

    @property
    def bytes_read(self) -> int:
        """Return the bytes of all that was fetched, indexes included."""
        return sum(files.bytes_read for files in self._files)

    def has(self, relation: str) -> bool:
        """Tell whether the newest snapshot has a file of the relation; WAL may bring it later."""
        return relation in self._relations

    def relations_of(self, database: int) -> set[str]:
        """Return all relations of a database."""
        return {found for found in self._relations if database_of(found) == str(database)}

    def core(self, databases: Collection[str] | None) -> set[str | None]:
        """Return the relations that every restore from databases (None: all) lays out."""
        return {relation_of(path) for path in core_paths(self.newest, databases)}

    def check(self, relations: Collection[str]) -> None:
        """Raise BackupError if a relation was left out, or its bytes never left another host."""
        links = resolve(self._indexes, self._paths(relations))
        for files, link in zip(self._files, links, strict=True):
            if Tier.LOCAL in places([link]):
                _check_local(files)

    def reads(self, relations: Collection[str], databases: Collection[str] | None) -> Counter[str]:
        """Return the bytes that the indexes and lay_out() need, by place (`local`, `s3`)."""
        paths = {*core_paths(self.newest, databases), *self._paths(relations)}
        return self.reads_of(resolve(self._indexes, paths))

    def reads_of(self, links: Sequence[Link]) -> Counter[str]:
        found = Counter[str]()
        for files, (reader, _, link) in zip(self._files, self._linked(links), strict=True):
            index = files.manifest.file(INDEX)
            found[files.place(INDEX)] += index.size if index else 0
            for pack, size in reader.sizes(link.fetch).items():
                found[files.place(pack)] += size
        return found

    def lay_out(
        self,
        relations: Collection[str],
        databases: Collection[str] | None,
        folder: Path,
        user: str | None,
        binaries: Binaries,
    ) -> None:
        """Make `pgdata` in the folder: the relations, and the core of databases (None: of all)."""
        laid_out = {*core_paths(self.newest, databases), *self._paths(relations)}
        directories = self._lay_out(resolve(self._indexes, laid_out), folder, user)
        pgdata = folder / PGDATA
        if len(directories) == 1:
            with acting_as(user):
                directories[0].rename(pgdata)
        else:
            combine(binaries, directories, pgdata, user)
            with acting_as(user):
                for directory in directories:
                    shutil.rmtree(directory)
        put_stand_ins(stand_ins(self.newest, laid_out), pgdata, user)

    def whole(self) -> Whole:
        """Return the links for all files that can be restored, and the files that cannot."""
        files = self.newest.files
        left_out = {path for path, file in files.items() if file.form is Form.LEFT_OUT}
        if any(file.place is Tier.LOCAL for file in files.values()) and not self._local_is_here():
            left_out |= {path for path, file in files.items() if file.place is Tier.LOCAL}
        paths = [path for path in stored_paths(self.newest) if path not in left_out]
        return Whole(tuple(resolve(self._indexes, paths)), frozenset(left_out))

    def lay_out_whole(self, whole: Whole, folder: Path, user: str | None) -> list[Path]:
        """Write a data directory per snapshot, the base first, each with its server's manifest."""
        directories = self._lay_out(whole.links, folder, user)
        for files, directory in zip(self._files, directories, strict=True):
            write_manifest(directory, decompress_file(files.read(BACKUP_MANIFEST)), user)
        return directories

    def configuration(self) -> SavedConfiguration:
        """Return the server's configuration as it was when the newest snapshot was taken."""
        return SavedConfiguration.from_json(decompress_file(self._files[-1].read(CONFIGURATION)))

    def _lay_out(self, links: Sequence[Link], folder: Path, user: str | None) -> list[Path]:
        linked = self._linked(links)
        self._expect(sum(sum(reader.sizes(link.fetch).values()) for reader, _, link in linked))
        return lay_out_chain(linked, folder, user)

    def _linked(self, links: Sequence[Link]) -> list[tuple[PackReader, Index, Link]]:
        """Return each link with the reader and the index of its snapshot."""
        return [
            (PackReader(files, index.groups), index, link)
            for files, index, link in zip(self._files, self._indexes, links, strict=True)
        ]

    def _local_is_here(self) -> bool:
        with_local = (counted for counted in self._files if counted.manifest.file(Tier.LOCAL.pack))
        try:
            for files in with_local:
                _check_local(files)
        except BackupError:
            return False
        return True

    def _paths(self, relations: Collection[str]) -> list[str]:
        return [path for relation in relations for path in self._relations.get(relation, ())]


class Counted:
    """The files of a snapshot; every byte read from them is counted and reported to advance."""

    def __init__(self, files: SnapshotFiles, advance: Advance) -> None:
        self._files = files
        self._advance = advance
        self.bytes_read = 0

    @property
    def manifest(self) -> Manifest:
        return self._files.manifest

    def place(self, name: str) -> str:
        return self._files.place(name)

    def read(self, name: str) -> bytes:
        return self._count(self._files.read(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        return self._count(self._files.read_range(name, offset, length))

    def _count(self, content: bytes) -> bytes:
        self.bytes_read += len(content)
        self._advance(len(content))
        return content


def _check_local(files: SnapshotFiles) -> None:
    """Raise BackupError if the pack that stays on the backup's host is not here."""
    try:
        files.read_range(Tier.LOCAL.pack, 0, 1)
    except BackupError as error:
        raise BackupError(
            "postgres.local_only",
            f"its rows never left the host that took the snapshot, and are not here "
            f"({error.message})",
            f"restore on host {files.manifest.host}, or a snapshot that is still local",
        ) from error
