"""Decide which files each link of a chain gives so that the newest snapshot is whole.

Files are followed by path from the newest link to the oldest, never by the object's name: a
relation may have belonged to another object when an older link was taken.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from three_backup.errors import BackupError
from three_backup.sources.postgres.increment import BLOCK_SIZE
from three_backup.sources.postgres.index import File, Form, Index, Tier
from three_backup.sources.postgres.mapping import relation_of

_IN_DATABASE = re.compile(r"(?:base|pg_tblspc/\d+/PG_\w+)/(\d+)/", re.ASCII)
_VISIBILITY_MAP = re.compile(r"/\d+_vm(?:\.\d+)?", re.ASCII)
_TABLESPACE_MAP = "tablespace_map"

Link = tuple[File, ...]
"""The files that are read from the packs of one snapshot of a chain."""


def database_of(path: str) -> str | None:
    """Return the oid of the database that a file or relation belongs to; None means all."""
    match = _IN_DATABASE.match(path)
    return None if match is None else match[1]


def core_paths(index: Index, databases: Collection[str] | None) -> list[str]:
    """Return the paths that every restore from these databases needs, whatever it restores.

    They are catalogs, sequences, WAL, and all files outside of relations. databases: oids; None
    means all.
    """
    return [
        path
        for path in stored_paths(index)
        if index.files[path].place is Tier.CORE
        and (databases is None or database_of(path) in (None, *databases))
    ]


def stored_paths(index: Index) -> list[str]:
    """Return the paths that can be laid out. Laying out needs no tablespace_map."""
    return [
        path
        for path, file in index.files.items()
        if file.form is not Form.LEFT_OUT and path != _TABLESPACE_MAP and not is_doubtful(file)
    ]


def is_doubtful(file: File) -> bool:
    """Tell whether the file is a visibility map of which the server sent only changed blocks.

    WAL summaries miss blocks in which bits of the map were cleared, in some versions all of them.
    Such a map shows deleted rows to index-only scans, and hides pages from VACUUM. Without a map
    the relation is whole, and VACUUM makes a new one.
    """
    partial = file.form in (Form.BLOCKS, Form.UNCHANGED)
    return partial and _VISIBILITY_MAP.search(file.path) is not None


def resolve(chain: Sequence[Index], paths: Iterable[str]) -> list[Link]:
    """Return what each link, the base first, has to give for these paths of the newest one.

    Raises BackupError if a file was left out, or an older link does not have it.
    """
    links: list[Link] = []
    needed, whole = set(paths), set[str]()
    for index in reversed(chain):
        files = [stored(index, path) for path in sorted(needed)]
        for file in files:
            if file.path in whole and file.form not in (Form.FULL, Form.SAME):
                raise _broken(file.path, "an older snapshot has only its changed blocks")
        links.append(tuple(file for file in files if file.form in (Form.FULL, Form.BLOCKS)))
        needed = {file.path for file in files if file.form is not Form.FULL}
        whole = {file.path for file in files if file.form is Form.SAME}
    if needed:
        raise _broken(min(needed), "the base has only its changed blocks")
    return links[::-1]


def places(links: Iterable[Link]) -> set[Tier]:
    """Return the places whose packs the links are read from."""
    return {file.place for link in links for file in link}


def stand_ins(newest: Index, laid_out: Collection[str]) -> dict[str, int]:
    """Return the relation files that are not laid out, with their lengths in bytes.

    Empty (sparse) files of these lengths keep recovery from allocating blocks that nobody reads.
    """
    return {
        path: length
        for path, file in newest.files.items()
        if path not in laid_out and relation_of(path) is not None and (length := length_of(file))
    }


def stored(index: Index, path: str) -> File:
    """Return the file of one link. Raises BackupError if it is missing or was left out."""
    file = index.files.get(path)
    if file is None:
        raise _broken(path, "an older snapshot does not have it")
    if file.form in (Form.FULL, Form.BLOCKS) and file.size and file.group is None:
        raise _broken(path, "nothing of it is stored")
    if file.form is Form.LEFT_OUT:
        raise BackupError(
            "postgres.left_out",
            f"it, or a part of it, was disabled when the snapshot was taken ({path} is left out)",
            "restore a snapshot that was taken while it was enabled",
        )
    return file


def length_of(file: File) -> int:
    """Return the bytes of a relation's file in the data directory, counting whole blocks only."""
    blocks = file.size // BLOCK_SIZE if file.blocks is None else file.blocks
    return blocks * BLOCK_SIZE


def size_of(file: File) -> int:
    """Return the bytes of a file in the data directory."""
    return length_of(file) if file.form in (Form.BLOCKS, Form.UNCHANGED) else file.size


def _broken(path: str, why: str) -> BackupError:
    return BackupError(
        "postgres.chain_broken",
        f"{path} cannot be put together: {why}",
        "restore another snapshot",
    )
