"""Make a bucket, for a host that begins."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3.failures import explained
from three_backup.s3.meanings import NO_BUCKET
from three_backup.s3.store import Store

_PATIENCE = timedelta(seconds=5)
"""How long a request is repeated: a person is waiting."""

_WITHOUT_NAME = "us-east-1"
"""The region that AWS does not take by name."""


def is_missing(storage: Storage) -> bool:
    """Whether the server says that there is no such bucket; any other failure says nothing."""
    hasty = replace(storage, timeout=min(storage.timeout, _PATIENCE))
    try:
        next(Store(hasty).pages("", MaxKeys=1))
    except BackupError as error:
        return error.code == NO_BUCKET.code
    return False


def make(storage: Storage) -> None:
    """Make the bucket of the storage, in its region if it names one. Raises BackupError."""
    options: dict[str, Any] = {"Bucket": storage.bucket}
    if storage.region not in (None, _WITHOUT_NAME):
        options["CreateBucketConfiguration"] = {"LocationConstraint": storage.region}
    with explained(storage):
        Store(storage).client.create_bucket(**options)
