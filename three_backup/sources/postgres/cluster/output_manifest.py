"""Writes the backup_manifest of a restored data directory, as pg_verifybackup reads it."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from three_backup.errors import BackupError

MANIFEST = "backup_manifest"

_HEAD = re.compile(rb'\{.*?"Files": \[', re.DOTALL)
_TAIL = re.compile(rb'\n\],\n"WAL-Ranges": .*(?="Manifest-Checksum")', re.DOTALL)
# The server lists no WAL: its records have their own checksums, checked when it is replayed.
_WAL = "pg_wal/"


class Listed(NamedTuple):
    """A file of the data directory."""

    path: str
    size: int  # bytes
    crc32c: int


def output_manifest(of_server: bytes, files: Iterable[Listed]) -> bytes:
    """Return the manifest of these files. of_server: that of the snapshot; it names the WAL.

    Raises BackupError if that is not a manifest as PostgreSQL writes it.
    """
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
    for path, size, crc32c in files:
        if path.startswith(_WAL):
            continue
        fields = {
            **_named(path),
            "Size": size,
            "Last-Modified": now,
            "Checksum-Algorithm": "CRC32C",
            "Checksum": crc32c.to_bytes(4, "little").hex(),
        }
        yield json.dumps(fields).encode()


def _named(path: str) -> dict[str, str]:
    """Return the field that names the file: in hexadecimal digits where it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"Encoded-Path": os.fsencode(path).hex()}
    return {"Path": path}
