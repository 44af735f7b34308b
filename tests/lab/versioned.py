"""Buckets that keep versions, with or without Object Lock, as an owner of the bucket sees them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]


class Server(Protocol):
    @property
    def endpoint(self) -> str: ...

    access_key: str
    secret_key: str


def owner(server: Server) -> Any:
    """Return a client with all rights."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"}, request_checksum_calculation="when_required"
        ),
    )


def create_locked(server: Server, bucket: str) -> None:
    """Create a bucket with Object Lock, and so with versions."""
    owner(server).create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)


def create_versioned(server: Server, bucket: str) -> None:
    """Create a bucket that keeps versions."""
    client = owner(server)
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def locks(server: Server, bucket: str, prefix: str = "") -> Iterator[tuple[str, datetime | None]]:
    """Yield the keys that are there, each with the end of its lock."""
    client = owner(server)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            told = client.head_object(Bucket=bucket, Key=found["Key"])
            until = told.get("ObjectLockRetainUntilDate")
            yield found["Key"], until and until.astimezone(UTC)


def versions(server: Server, bucket: str, prefix: str = "") -> list[tuple[str, str]]:
    """Return the key and the id of every version, without delete markers."""
    pages = owner(server).get_paginator("list_object_versions")
    return [
        (found["Key"], found["VersionId"])
        for page in pages.paginate(Bucket=bucket, Prefix=prefix)
        for found in page.get("Versions", ())
    ]
