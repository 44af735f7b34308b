"""Adds files to the manifest of a restored data directory that the backup did not have."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import crc32c

from three_backup.errors import BackupError

_END_OF_FILES = b'],\n"WAL-Ranges"'
_CHECKSUM = b'"Manifest-Checksum"'


def add_files(path: Path, added: Mapping[str, bytes]) -> None:
    """Add the files, which exist with this content, to the manifest at path."""
    if not added:
        return
    files, end, rest = path.read_bytes().rpartition(_END_OF_FILES)
    if not end:
        raise BackupError(
            "postgres.combine",
            f"{path}: this is not a manifest as pg_combinebackup writes it",
            "report the version of the server",
        )
    modified = f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M:%S} GMT"
    entries = ",\n".join(_entries(added, modified)).encode()
    body = files.rstrip(b"\n") + b",\n" + entries + b"\n" + end + rest.rpartition(_CHECKSUM)[0]
    checksum = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(body + _CHECKSUM + b': "' + checksum + b'"}\n')


def _entries(added: Mapping[str, bytes], modified: str) -> Iterator[str]:
    for path, content in added.items():
        checksum = crc32c.crc32c(content).to_bytes(4, "little").hex()
        fields = {
            "Path": path,
            "Size": len(content),
            "Last-Modified": modified,
            "Checksum-Algorithm": "CRC32C",
            "Checksum": checksum,
        }
        yield json.dumps(fields)
