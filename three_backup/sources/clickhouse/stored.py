"""Reads what a server stored in S3: its own manifest (`.backup`), and the keys that are there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree  # only for our own server's files in our own bucket
from xml.sax.saxutils import escape, unescape

from three_backup.errors import BackupError
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store
from three_backup.sources.clickhouse.sql import S3Folder

MANIFEST = ".backup"
LOCK = ".lock"
_DEFINITION = re.compile(r"(?:.*/)?metadata/[^/]+/[^/]+\.sql")
_PART = re.compile(r"(?:.*/)?data/[^/]+/[^/]+/([^/_]+_\d+_\d+_\d+(?:_\d+)?)/")
_BASE = re.compile(rb"<base_backup>(.*?)</base_backup>", re.DOTALL)
_ENTITIES = {"&apos;": "'", "&quot;": '"'}
_COPY_KEYS = re.compile(
    rb"<base_backup_copy_s3_credentials_from_backup>.*?"
    rb"</base_backup_copy_s3_credentials_from_backup>",
    re.DOTALL,
)
_WITH_KEYS = (
    b"<base_backup_copy_s3_credentials_from_backup>true"
    b"</base_backup_copy_s3_credentials_from_backup>"
)


@dataclass(frozen=True, slots=True)
class FolderContents:
    """The keys in a folder, counted; ClickHouse's lock is left out."""

    keys: int  # how many, `.backup` included
    size: int  # bytes without `.backup`, which is rewritten when its base has moved
    manifest_size: int  # bytes of `.backup`


@dataclass(frozen=True, slots=True)
class DotBackup:
    """The content of a `.backup`."""

    uuid: str  # tells backups apart
    base_uuid: str  # the uuid of the base, empty without one
    sizes: Mapping[str, int]  # bytes of the files that were stored, by their names
    parts: frozenset[str]  # the names of the parts of its table, those of the base included


def contents(store: Store, folder: str) -> FolderContents:
    return _contents(_listed(store, folder))


def verified(store: Store, folder: str, about: str) -> tuple[DotBackup, FolderContents]:
    """Return what `.backup` says and what lies in the folder.

    Raises BackupError if a file that `.backup` names is not there with its size.
    """
    written = read(store, folder, about)
    listed = _listed(store, folder)
    wrong = [name for name, size in written.sizes.items() if listed.get(name) != size]
    if wrong:
        raise BackupError(
            "clickhouse.incomplete",
            f"{about}: the server says that it stored {len(written.sizes)} files, but "
            f"{len(wrong)} are not in S3 as it says, {wrong[0]} first",
            "the next run writes all of it anew",
        )
    return written, _contents(listed)


def read(store: Store, folder: str, about: str) -> DotBackup:
    try:
        root = ElementTree.fromstring(manifest(store, folder, about))  # noqa: S314
    except ElementTree.ParseError as error:
        raise _incomplete(store, folder, about) from error
    named = (_PART.match(file.findtext("name", "")) for file in root.iterfind("contents/file"))
    return DotBackup(
        root.findtext("uuid", ""),
        root.findtext("base_backup_uuid", ""),
        dict(_stored(root)),
        frozenset(part[1] for part in named if part),
    )


def manifest(store: Store, folder: str, about: str) -> bytes:
    """Return `.backup` as it stands in S3. Raises BackupError if there is none."""
    try:
        return store.read(f"{folder}/{MANIFEST}")
    except MissingError as error:
        raise _incomplete(store, folder, about) from error


def definition(store: Store, folders: Iterable[str], about: str) -> str:
    """Return the statement that creates the one object of a chain, empty if none is stored.

    folders: the newest first, since an incremental holds the statement only if it changed.
    """
    for folder in folders:
        for name in read(store, folder, about).sizes:
            if _DEFINITION.fullmatch(name):
                return store.read(f"{folder}/{name}").decode("utf-8", "replace")
    return ""


def is_complete(store: Store, folder: str) -> bool:
    return store.size(f"{folder}/{MANIFEST}") is not None


def base_of(body: bytes) -> str:
    """Return where a `.backup` looks for its base, as `Place.shown`; empty without a base."""
    found = _BASE.search(body)
    return unescape(found[1].decode("utf-8", "replace"), _ENTITIES) if found else ""


def rebased(body: bytes, base: S3Folder) -> bytes:
    """Return the `.backup` changed so that it looks for its base in the given place."""
    found = f"<base_backup>{escape(base.shown)}</base_backup>".encode()
    if base.secret != base.shown:
        found += _WITH_KEYS
    return _BASE.sub(lambda _: found, _COPY_KEYS.sub(b"", body))


def _incomplete(store: Store, folder: str, about: str) -> BackupError:
    return BackupError(
        "clickhouse.incomplete",
        f"{about}: {store.place(folder)} is no complete backup",
        "the next base makes up for it",
    )


def _contents(sizes: Mapping[str, int]) -> FolderContents:
    manifest_size = sizes.get(MANIFEST, 0)
    return FolderContents(len(sizes), sum(sizes.values()) - manifest_size, manifest_size)


def _stored(root: ElementTree.Element) -> Iterator[tuple[str, int]]:
    """Yield name and size of each file that lies in this backup.

    Leaves out files of its base and second names of the same file.
    """
    for file in root.iterfind("contents/file"):
        name = file.findtext("name", "")
        size = int(file.findtext("size", "0"))
        base_size = size if file.findtext("use_base") == "true" else 0
        base_size = int(file.findtext("base_size", str(base_size)))
        if size > base_size and file.findtext("data_file", name) == name:
            yield name, size - base_size


def _listed(store: Store, folder: str) -> dict[str, int]:
    start = len(folder) + 1
    return {
        found.key[start:]: found.size
        for found in store.all_keys(f"{folder}/")
        if found.key[start:] != LOCK
    }
