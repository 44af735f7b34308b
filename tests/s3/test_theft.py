"""What a thief of the host's keys could do, by keys that may do more or less."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from tests.lab import versioned
from tests.lab.keys import SECRET, issuing
from three_backup.demo.seaweed import SeaweedServer
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.s3 import theft

from .test_probe import findings

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def issuer(server_folder: Path) -> Iterator[SeaweedServer]:
    with issuing(server_folder / "keys") as server:
        yield server


@pytest.fixture
def prefix(issuer: SeaweedServer, tmp_path: Path) -> Iterator[Storage]:
    """A prefix in a bucket that is made by the test, with the server's own key."""
    bucket = f"theft-{next(_NUMBERS)}"
    yield Storage(tmp_path, issuer.endpoint, bucket, "host")
    issuer.delete_bucket(bucket)


def told(storage: Storage, key: str) -> Finding:
    found = findings(replace(storage, access_key=key, secret_key=SECRET))
    assert found["writing"].mark is Mark.GOOD
    return found[theft.SUBJECT]


@pytest.mark.parametrize(
    ("key", "mark", "said", "remedy"),
    [
        ("writer", Mark.GOOD, "can overwrite backups, which hides them; for 5 days", ""),
        ("deleter", Mark.GOOD, "can delete and overwrite backups, which hides them; for 5", ""),
        ("destroyer", Mark.GOOD, "they stay locked, and --as-of brings them back", ""),
        ("lifter", Mark.NOTE, "all backups, and lift their locks", "s3:BypassGovernanceRetention"),
    ],
)
def test_locks_are_worth_what_the_key_may_not_lift(
    issuer: SeaweedServer, prefix: Storage, key: str, mark: Mark, said: str, remedy: str
) -> None:
    versioned.create_locked(issuer, str(prefix.bucket))
    finding = told(replace(prefix, lock_days=5), key)
    assert finding.mark is mark
    assert said in finding.sentence
    assert remedy in finding.remedy


def test_nobody_lifts_a_lock_of_compliance(issuer: SeaweedServer, prefix: Storage) -> None:
    versioned.create_locked(issuer, str(prefix.bucket))
    finding = told(replace(prefix, lock_days=5, lock_mode="compliance"), "lifter")
    assert finding.mark is Mark.GOOD


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("writer", "but not the older versions that the bucket keeps"),
        ("deleter", "but not the older versions that the bucket keeps"),
        ("keeper", "change how the bucket keeps versions: a rule of theirs could expire these"),
        ("destroyer", "all backups, with all older versions"),
    ],
)
def test_versions_are_worth_what_the_key_may_not_delete(
    issuer: SeaweedServer, prefix: Storage, key: str, said: str
) -> None:
    versioned.create_versioned(issuer, str(prefix.bucket))
    finding = told(prefix, key)
    assert finding.mark is Mark.NOTE
    assert said in finding.sentence
    client = versioned.owner(issuer)
    assert client.get_bucket_versioning(Bucket=prefix.bucket)["Status"] == "Enabled"


def test_without_versions_all_can_be_lost(issuer: SeaweedServer, prefix: Storage) -> None:
    issuer.create_bucket(str(prefix.bucket))
    finding = told(prefix, "writer")
    assert "can overwrite all backups" in finding.sentence
    assert "lock_days" in finding.remedy


def test_a_key_that_may_not_lock_is_told_which_right_it_lacks(
    issuer: SeaweedServer, prefix: Storage
) -> None:
    versioned.create_locked(issuer, str(prefix.bucket))
    storage = replace(prefix, lock_days=5, access_key="without-lock", secret_key=SECRET)
    found = findings(storage)["lock"]
    assert found.mark is Mark.BAD
    assert "s3:PutObjectRetention" in found.remedy


def test_a_bucket_without_locks_is_no_better_for_lock_days(
    issuer: SeaweedServer, prefix: Storage
) -> None:
    issuer.create_bucket(str(prefix.bucket))
    finding = told(replace(prefix, lock_days=5), "writer")
    assert finding.mark is Mark.NOTE
    assert "can overwrite all backups" in finding.sentence
