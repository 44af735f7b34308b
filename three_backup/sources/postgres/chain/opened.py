"""Open the stored chain of a restore: read its indexes, and make data directories of it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import HashedRange
from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import Advance, SnapshotFiles
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.chain.assembly import Assembly, has_header
from three_backup.sources.postgres.chain.labels import LABEL, Labels
from three_backup.sources.postgres.chain.lay_out import (
    make_directories,
    on_disk,
    put_stand_ins,
    write_new,
)
from three_backup.sources.postgres.chain.links import (
    Link,
    core_paths,
    database_of,
    is_doubtful,
    places,
    resolve,
    stand_ins,
    stored,
    stored_paths,
)
from three_backup.sources.postgres.chain.output_manifest import listed, verify, write_manifest
from three_backup.sources.postgres.chain.reading import Batch, Piece, batches, read_ahead, sizes
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    File,
    Form,
    Tier,
)
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.pack import Need, decompress_file
from three_backup.sources.postgres.saved_configuration import SavedConfiguration
from three_backup.sources.postgres.scratch.binaries import Binaries
from three_backup.sources.postgres.scratch.folder import PGDATA, acting_as


@dataclass(frozen=True, slots=True)
class Whole:
    """The files that a chain can give of a whole cluster."""

    paths: frozenset[str]
    links: tuple[Link, ...]
    # Paths of relation files that were disabled, or whose bytes never left another host.
    left_out: frozenset[str]


class OpenedChain:
    """A chain of snapshots, the base first, with their indexes read."""

    def __init__(self, chain: Sequence[SnapshotFiles], advance: Advance, expect: Advance) -> None:
        self._files = [Counted(files, advance) for files in chain]
        self._advance, self._expect = advance, expect
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
        for files, size in zip(self._files, self._sizes(links), strict=True):
            index = files.manifest.file(INDEX)
            found[files.place(INDEX)] += index.size if index else 0
            for pack, bytes_ in size.items():
                found[files.place(pack)] += bytes_
        return found

    def lay_out(
        self,
        relations: Collection[str],
        databases: Collection[str] | None,
        folder: Path,
        user: str | None,
        verifying: Binaries | None = None,
    ) -> None:
        """Make `pgdata` in the folder: the relations, and the core of databases (None: of all).

        verifying: the programs that compare all bytes with their checksums afterwards.
        """
        laid_out = {*core_paths(self.newest, databases), *self._paths(relations)}
        pgdata = folder / PGDATA
        assembly = self._put_together(resolve(self._indexes, laid_out), laid_out, pgdata, user)
        if verifying is not None:
            write_manifest(pgdata, self.server_manifest(), listed(assembly, user), user)
            verify(pgdata, verifying, user)
        put_stand_ins(stand_ins(self.newest, laid_out), pgdata, user)

    def whole(self) -> Whole:
        """Return the links for all files that can be restored, and the files that cannot."""
        files = self.newest.files
        left_out = {path for path, file in files.items() if file.form is Form.LEFT_OUT}
        if any(file.place is Tier.LOCAL for file in files.values()) and not self._local_is_here():
            left_out |= {path for path, file in files.items() if file.place is Tier.LOCAL}
        paths = [path for path in stored_paths(self.newest) if path not in left_out]
        return Whole(frozenset(paths), tuple(resolve(self._indexes, paths)), frozenset(left_out))

    def lay_out_whole(self, whole: Whole, pgdata: Path, user: str | None) -> Assembly:
        """Make the data directory pgdata, and return its files, of which its manifest tells."""
        return self._put_together(whole.links, whole.paths, pgdata, user)

    def server_manifest(self) -> bytes:
        """Return the manifest that the server made of the newest snapshot."""
        return decompress_file(self._files[-1].read(BACKUP_MANIFEST))

    def configuration(self) -> SavedConfiguration:
        """Return the server's configuration as it was when the newest snapshot was taken."""
        return SavedConfiguration.from_json(decompress_file(self._files[-1].read(CONFIGURATION)))

    def _put_together(
        self, links: Sequence[Link], paths: Collection[str], pgdata: Path, user: str | None
    ) -> Assembly:
        """Make the data directory pgdata with the paths of the newest snapshot."""
        expected = sum(sum(size.values()) for size in self._sizes(links))
        self._expect(expected)
        before = self.bytes_read
        files = (self.newest.files[path] for path in paths if path != LABEL)
        assembly, labels = Assembly(pgdata, files), Labels(self._labels())
        with on_disk(pgdata), closing(assembly):
            make_directories(pgdata, self.newest.directories, paths, user)
            for pieces in self._pieces(links, assembly):
                with acting_as(user):
                    for file, offset, piece in pieces:
                        if not labels.add(file, offset, piece):
                            assembly.add(file, offset, piece)
            with acting_as(user):
                assembly.finish()
                write_new(pgdata / LABEL, labels.whole())
        # What newer links hide was expected, but not read.
        self._advance(max(0, expected - (self.bytes_read - before)))
        return assembly

    def _labels(self) -> list[File]:
        return [stored(index, LABEL) for index in self._indexes]

    def _pieces(self, links: Sequence[Link], assembly: Assembly) -> Iterator[list[Piece]]:
        """Read what tells which blocks are hidden, then all that is not."""
        yield from read_ahead(self._batches(links, _comes_first))
        yield from read_ahead(
            self._batches(links, lambda need: _comes_later(need) and assembly.shows(need))
        )

    def _batches(self, links: Sequence[Link], wants: Callable[[Need], bool]) -> Iterator[Batch]:
        """Yield what is to be read of each link, and of its label; the newest link first."""
        chain = list(zip(self._files, self._indexes, links, self._labels(), strict=True))
        for files, index, link, label in reversed(chain):
            yield from batches(files, index.groups, {*link, label}, wants)

    def _sizes(self, links: Sequence[Link]) -> list[Counter[str]]:
        """Return the most bytes to read of each link, by pack."""
        chain = zip(self._indexes, links, self._labels(), strict=True)
        return [
            sizes(index.groups, {*link, label}, _comes_first)
            + sizes(index.groups, {*link, label}, _comes_later)
            for index, link, label in chain
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
    """The files of a snapshot; every byte read from them is counted and reported to advance.

    Threads may share it.
    """

    def __init__(self, files: SnapshotFiles, advance: Advance) -> None:
        self._files = files
        self._advance = advance
        self._counting = Lock()
        self.bytes_read = 0

    @property
    def manifest(self) -> Manifest:
        return self._files.manifest

    def place(self, name: str) -> str:
        return self._files.place(name)

    def read(self, name: str) -> bytes:
        return self._count(self._files.read(name))

    def read_range(
        self, name: str, offset: int, length: int, pieces: Sequence[HashedRange] = ()
    ) -> bytes:
        return self._count(self._files.read_range(name, offset, length, pieces))

    def _count(self, content: bytes) -> bytes:
        with self._counting:
            self.bytes_read += len(content)
            self._advance(len(content))
        return content


def _comes_first(need: Need) -> bool:
    """Tell whether a frame says what others hide, or what begins where."""
    return has_header(need) or any(part.file.path == LABEL for part in need.slices)


def _comes_later(need: Need) -> bool:
    return not _comes_first(need)


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
