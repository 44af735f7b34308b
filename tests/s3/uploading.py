"""A process that uploads, for tests that kill it or measure it: `python -m tests.s3.uploading`.

argv: endpoint, bucket, access key, secret key, journal, threads, part size. It uploads stdin as
the key `file`. It prints one line per part with the bytes sent, and at last one line with the
bytes by which its memory grew.
"""

import re
import sys
from io import BufferedReader
from pathlib import Path
from typing import cast

from three_backup.model.storage import Storage
from three_backup.s3.store import Store
from three_backup.s3.upload import upload


def main() -> None:
    endpoint, bucket, access_key, secret_key, journal, threads, part_size = sys.argv[1:]
    storage = Storage(
        Path(journal).parent,
        endpoint,
        bucket,
        "host.example",
        access_key=access_key,
        secret_key=secret_key,
    )
    store = Store(storage)
    store.write("warm-up", bytes(1024))  # what boto3 always takes does not count as growth
    before = _peak()
    upload(
        store,
        "file",
        cast(BufferedReader, sys.stdin.buffer),
        None,
        Path(journal),
        lambda count: _say(count),
        part_size=int(part_size),
        threads=int(threads),
    )
    _say(_peak() - before)


def _peak() -> int:
    """Return the peak memory of this program alone: getrusage includes that of its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
