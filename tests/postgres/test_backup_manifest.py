"""The server's manifest tells whether all files arrived as they were sent."""

import hashlib

import pytest

from three_backup.errors import BackupError
from three_backup.sources.postgres.taking.server_manifest import verify

_ARRIVED = [("base/5/1", 8192, 0x4C2750BD), ("base/5/caf\udce9", 3, 1), ("pg_wal/0001", 9, 9)]


def test_files_as_the_server_sent_them_pass() -> None:
    verify(_manifest(), _ARRIVED)


@pytest.mark.parametrize(
    ("arrived", "message"),
    [
        ([("base/5/1", 8192, 0x4C2750BC), *_ARRIVED[1:]], "base/5/1 .* arrived with other bytes"),
        ([("base/5/1", 8191, 0x4C2750BD), *_ARRIVED[1:]], "base/5/1 .* arrived with other bytes"),
        (_ARRIVED[1:], "base/5/1 .* did not arrive"),
        ([*_ARRIVED, ("base/5/2", 1, 1)], "base/5/2 .* is not in the manifest"),
        ([*_ARRIVED, _ARRIVED[0]], "base/5/1 .* is not in the manifest"),
    ],
)
def test_one_other_byte_or_file_fails(arrived: list[tuple[str, int, int]], message: str) -> None:
    with pytest.raises(BackupError, match=message):
        verify(_manifest(), arrived)


@pytest.mark.parametrize("position", [0, 60, 150, -5])
def test_a_damaged_manifest_fails(position: int) -> None:
    damaged = bytearray(_manifest())
    damaged[position] ^= 1
    with pytest.raises(BackupError, match="the manifest of the backup arrived damaged"):
        verify(bytes(damaged), _ARRIVED)


def test_no_manifest_fails() -> None:
    with pytest.raises(BackupError, match="the manifest of the backup arrived damaged"):
        verify(b"", [])


def _manifest() -> bytes:
    """Return a manifest as PostgreSQL writes it."""
    body = b"""{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 7711344212023250896,
"Files": [
{ "Path": "base/5/1", "Size": 8192, "Last-Modified": "2026-11-23 12:39:25 GMT",\
 "Checksum-Algorithm": "CRC32C", "Checksum": "bd50274c" },
{ "Encoded-Path": "626173652f352f636166e9", "Size": 3,\
 "Last-Modified": "2026-11-23 12:39:25 GMT", "Checksum-Algorithm": "CRC32C",\
 "Checksum": "01000000" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120" }
],
"""
    checksum = hashlib.sha256(body).hexdigest().encode()
    return body + b'"Manifest-Checksum": "' + checksum + b'"}\n'
