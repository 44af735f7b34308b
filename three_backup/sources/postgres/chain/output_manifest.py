"""The backup_manifest of a data directory that was put together, for pg_verifybackup."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

from three_backup.command import run
from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.assembly import Assembly
from three_backup.sources.postgres.chain.labels import LABEL
from three_backup.sources.postgres.chain.lay_out import write_new
from three_backup.sources.postgres.scratch.binaries import Binaries, worker
from three_backup.sources.postgres.scratch.folder import acting_as

MANIFEST = "backup_manifest"

_HEAD = re.compile(rb'\{.*?"Files": \[', re.DOTALL)
_TAIL = re.compile(rb'\n\],\n"WAL-Ranges": .*(?="Manifest-Checksum")', re.DOTALL)
# The server lists no WAL: its records have their own checksums, checked when it is replayed.
_WAL = "pg_wal/"
_THREADS = 4


class Listed(NamedTuple):
    """A file of the data directory."""

    path: str
    size: int  # bytes
    checksum: int  # CRC-32C


def listed(assembly: Assembly, user: str | None) -> list[Listed]:
    """Return the files that were put together. What several links gave is read again."""

    def one(path: str) -> Listed:
        with acting_as(user):
            return Listed(path, assembly.size(path), assembly.checksum(path))

    with ThreadPoolExecutor(_THREADS, "checksum") as pool:
        return list(pool.map(one, sorted(assembly.paths)))


def write_manifest(
    pgdata: Path, of_server: bytes, files: Iterable[Listed], user: str | None
) -> None:
    """Write the manifest of these files and of the label.

    of_server: that of the snapshot, which names the WAL. Raises BackupError if it is not one as
    PostgreSQL writes it.
    """
    with acting_as(user):
        label = (pgdata / LABEL).read_bytes()
        entries = [*files, Listed(LABEL, len(label), crc32c(label))]
        write_new(pgdata / MANIFEST, _manifest(of_server, entries))


def verify(pgdata: Path, binaries: Binaries, user: str | None) -> None:
    """Have PostgreSQL compare every byte of the data directory with its manifest."""
    argv = [binaries["pg_verifybackup"], "--quiet", str(pgdata)]
    run(worker(argv, user, code="postgres.verify"))


def _manifest(of_server: bytes, files: Iterable[Listed]) -> bytes:
    """Return the manifest of these files, as write_manifest() needs it."""
    head, tail = _HEAD.match(of_server), _last(of_server)
    if head is None or tail is None:
        raise BackupError(
            "postgres.manifest",
            "postgres: the manifest of the snapshot is not one as PostgreSQL writes it",
            "report the version of the server",
        )
    body = head[0] + b"\n" + b",\n".join(_entries(files)) + tail
    checksum = hashlib.sha256(body).hexdigest().encode()
    return body + b'"Manifest-Checksum": "' + checksum + b'"}\n'


def _last(of_server: bytes) -> bytes | None:
    start = of_server.rfind(b'\n],\n"WAL-Ranges"')
    found = _TAIL.match(of_server, start) if start >= 0 else None
    return None if found is None else found[0]


def _entries(files: Iterable[Listed]) -> Iterator[bytes]:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT"
    for path, size, checksum in files:
        if path.startswith(_WAL):
            continue
        fields = {
            **_named(path),
            "Size": size,
            "Last-Modified": now,
            "Checksum-Algorithm": "CRC32C",
            "Checksum": checksum.to_bytes(4, "little").hex(),
        }
        yield json.dumps(fields).encode()


def _named(path: str) -> dict[str, str]:
    """Return the field that names the file: in hexadecimal digits where it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"Encoded-Path": os.fsencode(path).hex()}
    return {"Path": path}
