"""The URL of a bucket, spelt so that a ClickHouse server finds the bucket in it.

The server takes the first label of some hosts for a bucket and the first folder of the path for
all others. What is configured for ourselves says the same in another way.
"""

import re
from urllib.parse import urlsplit

from three_backup.errors import BackupError
from three_backup.model.storage import Storage

_AWS = "https://s3.amazonaws.com"
_STARTS_WITH_BUCKET = re.compile(
    r"(.+)\.(?:s3express[-a-z0-9]*|s3|cos|obs|oss-data-acc|oss|eos)[.-][-a-z0-9.:]+"
)
"""Hosts in which the server looks for the bucket."""


def bucket_url(storage: Storage) -> str:
    """Return the URL of the bucket. Raises BackupError if the server would read any URL wrong."""
    endpoint = storage.endpoint
    if endpoint is None:
        endpoint = f"https://s3.{storage.region}.amazonaws.com" if storage.region else _AWS
    parts = urlsplit(endpoint)
    virtual = f"{storage.bucket}.{parts.netloc}"
    if parts.path.strip("/"):
        raise _misread(endpoint, f"takes {parts.path.strip('/').split('/')[0]} for the bucket")
    found = _STARTS_WITH_BUCKET.fullmatch(virtual)
    if storage.addressing_style == "virtual" and found and found[1] == storage.bucket:
        return f"{parts.scheme}://{virtual}"
    if _STARTS_WITH_BUCKET.fullmatch(parts.netloc):
        raise _misread(endpoint, f"takes {parts.netloc.partition('.')[0]} for the bucket")
    return f"{parts.scheme}://{parts.netloc}/{storage.bucket}"


def _misread(endpoint: str, why: str) -> BackupError:
    return BackupError(
        "clickhouse.endpoint",
        f"clickhouse: of {endpoint} a ClickHouse server {why}",
        "name the store by another host, without a path (an alias in the DNS or in /etc/hosts)",
    )
