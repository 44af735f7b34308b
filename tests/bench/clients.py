"""Programs that move one file to or from S3, each as one would write it with its library:

    python -m tests.bench.clients CLIENT ENDPOINT [FILE]

Without FILE, stdin is sent. Downloads go to /dev/null, in order.
"""

import hashlib
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from three_backup import command
from three_backup.host.garbage import collect_less_often
from three_backup.model.checked_file import checked_file
from three_backup.model.hashed_stream import PIECE, Hashed, StreamIndex
from three_backup.model.storage import Storage
from three_backup.s3.download import read_range
from three_backup.s3.reader import Known, Readable, nothing_known
from three_backup.s3.store import Store
from three_backup.s3.upload import upload

BUCKET = "bench"
KEYS = "sink"
KEY = "file"


def _ours(endpoint: str, file: Path | None) -> None:
    """Send the file as tb-upload sends the file of a snapshot; without a file, send stdin."""
    if file is None:
        with Path("/dev/stdin").open("rb", buffering=0) as source:
            _send(endpoint, source, None)
    else:
        with file.open("rb", buffering=0) as source:
            _send(endpoint, source, file.stat().st_size)


def _ours_stream(endpoint: str, file: Path | None) -> None:
    """Send what a program prints, hashed piece by piece, as tb-upload sends a point's stream."""
    with command.stream(command.Program(("cat", str(file)))) as readable:
        hashed = Hashed(readable)
        _send(endpoint, hashed, None, hashed.sha256)
        hashed.index()


def _ours_download(endpoint: str, file: Path | None) -> None:
    """Read as tb-restore reads a stream: each piece is checked before it is passed on."""
    assert file is not None
    index = index_of(file)
    where = partial(read_range, _store(endpoint), KEY, index.size, index.size)
    with Path("/dev/null").open("wb") as output:
        for piece in checked_file(index.pieces, where, KEY):
            output.write(piece)


def _boto3(endpoint: str, file: Path | None) -> None:
    if file is None:
        _client(endpoint).upload_fileobj(sys.stdin.buffer, BUCKET, KEY)
    else:
        _client(endpoint).upload_file(str(file), BUCKET, KEY)


def _boto3_download(endpoint: str, file: Path | None) -> None:
    with Path("/dev/null").open("wb") as output:
        _client(endpoint).download_fileobj(BUCKET, KEY, output)


CLIENTS: dict[str, Callable[[str, Path | None], None]] = {
    "three_backup": _ours,
    "three_backup-stream": _ours_stream,
    "three_backup-download": _ours_download,
    "boto3": _boto3,
    "boto3-download": _boto3_download,
}


def index_of(file: Path) -> StreamIndex:
    """Return the index of the file. The first call writes it, beside the file.

    A snapshot comes with its index; so a benchmark makes it before it measures.
    """
    written = file.with_suffix(".index")
    if not written.exists():
        with file.open("rb") as source:
            pieces = iter(lambda: source.read(PIECE), b"")
            hashes = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
        written.write_bytes(StreamIndex(file.stat().st_size, PIECE, hashes).to_json())
    return StreamIndex.from_json(written.read_bytes(), str(written))


def _send(endpoint: str, source: Readable, size: int | None, known: Known = nothing_known) -> None:
    with tempfile.TemporaryDirectory() as journals:
        journal = Path(journals) / "file.journal"
        upload(_store(endpoint), KEY, source, size, journal, lambda _: None, known=known)


def _store(endpoint: str) -> Store:
    return Store(Storage(Path("/"), endpoint, BUCKET, access_key=KEYS, secret_key=KEYS))


def _client(endpoint: str) -> Any:
    import boto3  # type: ignore[import-untyped]

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEYS,
        aws_secret_access_key=KEYS,
        region_name="us-east-1",
    )


def main() -> None:
    client, endpoint, *files = sys.argv[1:]
    if client.startswith("three_backup"):
        collect_less_often()  # as every tool does
    CLIENTS[client](endpoint, Path(files[0]) if files else None)


if __name__ == "__main__":
    main()
