"""Check the files that arrived against the server's own manifest of the backup."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from three_backup.errors import BackupError

_CHECKSUM = re.compile(rb'"Manifest-Checksum": "([0-9a-f]{64})"}\s*')
_LAST_LINE = b'"Manifest-Checksum"'
# The server lists no WAL: its records have their own checksums, checked when it is replayed.
_WAL = "pg_wal/"


def verify(manifest: bytes, arrived: Iterable[tuple[str, int, int]]) -> None:
    """Raise BackupError unless the manifest's files arrived, and besides them only WAL.

    Size and CRC-32C are compared. arrived: path (with `INCREMENTAL.` if the server's has it),
    size and CRC-32C of every file.
    """
    expected = _files(manifest)
    for path, size, crc32c in arrived:
        said = expected.pop(path, None)
        if said is None and not path.startswith(_WAL):
            raise _differs(path, "it is not in the manifest of the server")
        if said not in (None, (size, crc32c)):
            raise _differs(path, "it arrived with other bytes than the server says it sent")
    if expected:
        raise _differs(min(expected), "it did not arrive")


def _files(manifest: bytes) -> dict[str, tuple[int, int]]:
    """Return size and CRC-32C of each file. Raises BackupError if the manifest is damaged."""
    body, found, checksum = manifest.rpartition(_LAST_LINE)
    match = _CHECKSUM.fullmatch(found + checksum)
    if match is None or hashlib.sha256(body).hexdigest().encode() != match[1]:
        raise BackupError(
            "postgres.manifest",
            "PostgreSQL: the manifest of the backup arrived damaged",
            "take the snapshot again",
        )
    entries = json.loads(manifest, object_hook=_entry)
    return {path: (size, crc32c) for path, size, crc32c in entries["Files"]}


def _entry(fields: Mapping[str, Any]) -> Any:
    """Keep only the compared fields of a file's entry, because there are many files."""
    if "Checksum" not in fields:
        return fields
    path = fields.get("Path")
    if path is None:
        path = os.fsdecode(bytes.fromhex(fields["Encoded-Path"]))
    checksum = int.from_bytes(bytes.fromhex(fields["Checksum"]), "little")
    return path, fields["Size"], checksum


def _differs(path: str, reason: str) -> BackupError:
    return BackupError(
        "postgres.checksum",
        f"PostgreSQL: {path} is not what the server sent ({reason})",
        "take the snapshot again; if it happens again, check the memory and the network",
    )
