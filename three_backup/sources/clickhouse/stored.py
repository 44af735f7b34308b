"""What a server stored in S3, by its own manifest (`.backup`) and by the keys that are there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree  # of our own server, out of our own bucket
from xml.sax.saxutils import escape, unescape

from three_backup.errors import BackupError
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store
from three_backup.sources.clickhouse.sql import Place

MANIFEST = ".backup"
_LOCK = ".lock"
_DEFINITION = re.compile(r"(?:.*/)?metadata/[^/]+/[^/]+\.sql")
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
class Contents:
    """keys: how many there are, `.backup` included; size: bytes of all but that, which says where
    its base lies and may come to say it anew; manifest_size: its bytes."""

    keys: int
    size: int
    manifest_size: int


@dataclass(frozen=True, slots=True)
class Written:
    """What `.backup` says. sizes: of the files that were stored, by their names; uuid, base_uuid:
    by which ClickHouse tells backups apart, empty without a base."""

    uuid: str
    base_uuid: str
    sizes: Mapping[str, int]


def contents(store: Store, folder: str) -> Contents:
    return _contents(_listed(store, folder))


def verified(store: Store, folder: str, about: str) -> tuple[Written, Contents]:
    """Raises BackupError where a file that `.backup` names is not there with its size."""
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


def read(store: Store, folder: str, about: str) -> Written:
    try:
        root = ElementTree.fromstring(manifest(store, folder, about))  # noqa: S314
    except ElementTree.ParseError as error:
        raise _incomplete(store, folder, about) from error
    sizes = dict(_stored(root))
    return Written(root.findtext("uuid", ""), root.findtext("base_backup_uuid", ""), sizes)


def manifest(store: Store, folder: str, about: str) -> bytes:
    """What `.backup` says, as it stands there."""
    try:
        return store.read(f"{folder}/{MANIFEST}")
    except MissingError as error:
        raise _incomplete(store, folder, about) from error


def definition(store: Store, folders: Iterable[str], about: str) -> str:
    """The statement that makes the one object of a chain, nothing where none is stored. folders:
    the newest first, since an increment holds it only where it changed."""
    for folder in folders:
        for name in read(store, folder, about).sizes:
            if _DEFINITION.fullmatch(name):
                return store.read(f"{folder}/{name}").decode("utf-8", "replace")
    return ""


def is_complete(store: Store, folder: str) -> bool:
    return store.size(f"{folder}/{MANIFEST}") is not None


def base_of(body: bytes) -> str:
    """Where the backup looks for its base, as `Place.shown`. body: of `.backup`."""
    found = _BASE.search(body)
    return unescape(found[1].decode("utf-8", "replace"), _ENTITIES) if found else ""


def rebased(body: bytes, base: Place) -> bytes:
    """The same `.backup`, which looks for its base where that lies now."""
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


def _contents(sizes: Mapping[str, int]) -> Contents:
    manifest_size = sizes.get(MANIFEST, 0)
    return Contents(len(sizes), sum(sizes.values()) - manifest_size, manifest_size)


def _stored(root: ElementTree.Element) -> Iterator[tuple[str, int]]:
    """The files that lie in this backup: not those of its base, nor second names of the same."""
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
        if found.key[start:] != _LOCK
    }
