"""What is found out of locks and versions, on servers that have them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab import versioned
from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.s3 import locking, multipart
from three_backup.s3.lock import Lock, from_now
from three_backup.s3.store import Store

from .test_probe import findings

_NUMBERS = count(1)
_RULE = {
    "ID": "old versions",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
}
_OWN = {**_RULE, "Filter": {"Prefix": "host.example/"}}
_ANOTHER = {**_RULE, "Filter": {"Prefix": "other/"}}
_OFF = {**_RULE, "Status": "Disabled"}
_PAGE = Path(__file__).parents[2] / "man" / "three_backup.7"
Made = Callable[..., Storage]


@pytest.fixture(params=["seaweed", "moto"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A function that returns a prefix in a fresh bucket, with Object Lock or with versions."""
    server = request.getfixturevalue(request.param)

    def make(*, locked: bool = True, **changes: Any) -> Storage:
        bucket = f"lasting-{next(_NUMBERS)}"
        (versioned.create_locked if locked else versioned.create_versioned)(server, bucket)
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        storage = Storage(tmp_path, server.endpoint, bucket, "host.example", **keys)
        return replace(storage, timeout=timedelta(seconds=1), **changes)

    return make


def marks(storage: Storage) -> dict[str, Finding]:
    return findings(storage)


def bucket_owner(storage: Storage) -> Any:
    return versioned.owner(storage)  # type: ignore[arg-type]


def test_a_bucket_with_locks_is_good_and_the_check_stays_locked_for_a_minute(made: Made) -> None:
    storage = made(lock_days=30)
    found = marks(storage)
    assert found["lock"].mark is Mark.GOOD
    assert found["lock"].sentence == "the bucket locks what is written, for 30 days"
    assert Mark.BAD not in {finding.mark for finding in found.values()}
    pages = bucket_owner(storage).list_object_versions(Bucket=storage.bucket)
    for version in pages["Versions"]:
        named = {"Key": version["Key"], "VersionId": version["VersionId"]}
        told = bucket_owner(storage).head_object(Bucket=storage.bucket, **named)
        until = told.get("ObjectLockRetainUntilDate")
        assert until is None or until < datetime.now(UTC) + timedelta(seconds=90)


def test_a_bucket_without_locks_is_bad_where_locks_are_asked_for(made: Made) -> None:
    found = marks(made(locked=False, lock_days=30))["lock"]
    assert found.mark is Mark.BAD
    assert "takes no lock" in found.sentence
    assert found.remedy.startswith("make a bucket with Object Lock")


def test_a_key_that_may_not_make_locks_longer_is_bad(made: Made) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return refusal(403, "AccessDenied") if request.is_("PUT", "retention") else forward()

    storage = made(lock_days=30)
    with proxy(str(storage.endpoint), meddle) as endpoint:
        found = marks(replace(storage, endpoint=endpoint))["lock"]
    assert found.mark is Mark.BAD
    assert "s3:PutObjectRetention" in found.remedy


@pytest.mark.parametrize(
    ("rules", "days"),
    [([], None), ([_RULE], 30), ([_OWN], 30), ([_ANOTHER], None), ([_OFF], None)],
)
def test_a_bucket_that_never_forgets_a_version_is_noted(
    made: Made, rules: list[dict[str, Any]], days: int | None
) -> None:
    storage = made(locked=False)
    if rules:
        bucket_owner(storage).put_bucket_lifecycle_configuration(
            Bucket=storage.bucket, LifecycleConfiguration={"Rules": rules}
        )
    found = marks(storage)["versions"]
    assert found.mark is (Mark.NOTE if days is None else Mark.GOOD)
    assert ("for 30 days, then a lifecycle rule removes it" in found.sentence) is bool(days)


def test_the_rule_of_the_page_is_one_that_forgets(made: Made) -> None:
    section = _PAGE.read_text().partition(".Sh LOCKS AND VERSIONS")[2]
    (text,) = re.findall(r"^\{\"Rules\".*?(?=^\.Ed)", section, re.DOTALL | re.MULTILINE)
    storage = made()
    bucket_owner(storage).put_bucket_lifecycle_configuration(
        Bucket=storage.bucket, LifecycleConfiguration=json.loads(text)
    )
    assert "for 30 days, then a lifecycle rule" in marks(storage)["versions"].sentence


def test_a_lifecycle_that_may_not_be_read_is_unknown(made: Made) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return refusal(403, "AccessDenied") if request.is_("GET", "lifecycle") else forward()

    storage = made(locked=False)
    with proxy(str(storage.endpoint), meddle) as endpoint:
        found = marks(replace(storage, endpoint=endpoint))["versions"]
    assert "unless a lifecycle rule removes it, which this key may not see" in found.sentence
    assert found.remedy.startswith("allow s3:GetLifecycleConfiguration")


def test_parts_are_locked_when_they_are_joined_or_afterwards(made: Made) -> None:
    """moto passes over the lock of an upload in parts, but takes one later."""
    store = Store(made(lock_days=3))
    upload_id = multipart.begin(store, "data/x")
    etag = store.client.upload_part(
        **store.names("data/x"), UploadId=upload_id, PartNumber=1, Body=b"x"
    )["ETag"]
    multipart.complete(store, "data/x", upload_id, {1: etag.strip('"')})
    if store.storage.access_key == "moto":
        assert locking.lock_of(store, "data/x") is None
    asked = from_now(store.storage)
    locking.extend(store, ["data/x"], asked)
    found = locking.lock_of(store, "data/x")
    assert found is not None
    assert abs(found.until - asked.until) < timedelta(seconds=1)
    assert found == Lock("GOVERNANCE", found.until)


@pytest.mark.parametrize(
    ("key", "days"),
    [
        ("data/a/b", 3),
        ("manifests/a.json", 3),
        ("wal/postgres/cluster/1/00000001/1-2.zst", 4),
        ("wal/postgres/cluster/1/00000002.history", 4),
        ("wal/postgres/cluster/1/reached.json", None),
        ("owner.json", None),
        ("keep/a.json", None),
        ("drills/a.json", None),
        ("check/a", None),
    ],
)
def test_what_is_written_once_is_locked(made: Made, key: str, days: int | None) -> None:
    store = Store(made(lock_days=3))
    store.write(key, b"x")
    found = locking.lock_of(store, key)
    assert (found is None) is (days is None)
    if found is not None and days is not None:
        assert abs(found.until - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=1)
