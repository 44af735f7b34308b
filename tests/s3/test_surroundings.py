"""Buckets and networks as operators have them: versions, locks, encryption, proxies, clocks."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import botocore.auth  # type: ignore[import-untyped]
import pytest

from tests.lab.dialects import certified
from tests.lab.fault_proxy import Answer, Forward, OnIPv6, Request, proxy, refusal
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.s3 import client
from three_backup.s3.failures import MissingError
from three_backup.s3.probe import probe
from three_backup.s3.store import Store

from .conftest import Connect
from .files import PART, fetch, send
from .test_probe import HOST, findings, now

_BUCKETS = count(1)
_LOCK = {"Mode": "GOVERNANCE", "Days": 1}

on_seaweed = pytest.mark.parametrize("storage", ["seaweed"], indirect=True)
with_versions = pytest.mark.parametrize("storage", ["seaweed", "moto"], indirect=True)


@pytest.fixture
def versioned(connect: Connect) -> Store:
    """A bucket that keeps versions."""
    store = connect(bucket=f"versioned-{next(_BUCKETS)}")
    store.create_bucket()
    store.client.put_bucket_versioning(
        Bucket=store.storage.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    return store


@pytest.fixture
def locked(connect: Connect) -> Store:
    """A bucket with Object Lock, which keeps everything for a day."""
    store = connect(bucket=f"locked-{next(_BUCKETS)}")
    bucket = {"Bucket": store.storage.bucket}
    store.client.create_bucket(**bucket, ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": _LOCK}}
    store.client.put_object_lock_configuration(**bucket, ObjectLockConfiguration=rule)
    return store


@with_versions
def test_what_was_deleted_in_a_bucket_with_versions_is_gone(versioned: Store) -> None:
    versioned.write("data/key", b"old")
    versioned.delete(["data/key"])
    assert versioned.size("data/key") is None
    assert list(versioned.keys("")) == []
    with pytest.raises(MissingError, match="nothing is stored under this key"):
        versioned.read("data/key")
    versioned.write("data/key", b"new")
    assert versioned.read("data/key") == b"new"
    versioned.delete_folder("data/")
    assert list(versioned.keys("")) == []


@with_versions
def test_a_bucket_with_versions_is_told_with_what_that_costs(versioned: Store) -> None:
    found = findings(versioned.storage)
    assert Mark.BAD not in {finding.mark for finding in found.values()}
    assert found["versions"].mark is Mark.NOTE
    assert "expire noncurrent versions" in found["versions"].remedy
    assert "lock" not in found


@with_versions
def test_a_bucket_with_a_lock_takes_backups_and_tells_until_when_it_keeps_them(
    locked: Store, journal: Path, content: bytes
) -> None:
    uploaded = send(locked, io.BytesIO(content[: 3 * PART + 1]), journal)
    assert fetch(locked, uploaded) == content[: 3 * PART + 1]
    found = findings(locked.storage)
    assert Mark.BAD not in {finding.mark for finding in found.values()}
    assert "is locked until 20" in found["lock"].sentence
    assert "frees no room before" in found["lock"].sentence


@on_seaweed
def test_a_lock_that_refuses_deletion_is_told_as_such(storage: Storage) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        deletes = request.is_("POST", "delete") or request.method == "DELETE"
        locked = refusal(403, "ObjectLockedByBucketPolicy", "The object is locked.")
        return locked if deletes else forward()

    with proxy(str(storage.endpoint), meddle) as endpoint:
        found = findings(replace(storage, endpoint=endpoint))
    assert found["deleting"].mark is Mark.BAD
    assert "a lock of the store (retention, legal hold) keeps it" in found["deleting"].sentence
    assert "wait until the lock ends" in found["deleting"].remedy


@on_seaweed
def test_a_delete_marker_is_told(connect: Connect) -> None:
    gone = replace(refusal(404, "NoSuchKey"), headers={"x-amz-delete-marker": "true"})
    with (
        proxy("http://127.0.0.1:1", lambda *_: gone) as endpoint,
        pytest.raises(MissingError) as caught,
    ):
        connect(endpoint=endpoint).read("key")
    assert "the key was deleted" in caught.value.message
    assert "an earlier one can be brought back" in caught.value.hint


@on_seaweed
def test_a_key_of_a_client_that_encrypts_is_told(store: Store) -> None:
    secret = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"0" * 32}
    store.client.put_object(**store.names("key"), Body=b"body", **secret)
    for ask in (store.read, store.size):
        with pytest.raises(BackupError) as caught:
            ask("key")
        assert caught.value.code == "s3.encryption"
        assert "SSE-KMS" in caught.value.hint


@on_seaweed
@pytest.mark.parametrize(
    ("answer", "code", "remedy"),
    [
        (
            refusal(403, "AccessDenied", "is not authorized to perform: kms:GenerateDataKey"),
            "s3.kms",
            "allow s3_access_key kms:GenerateDataKey",
        ),
        (refusal(400, "KMS.DisabledException"), "s3.kms", "enable the key"),
        (
            refusal(400, "InvalidRequest", "requires server-side encryption with customer key"),
            "s3.encryption",
            "no policy demand SSE-C",
        ),
    ],
)
def test_a_policy_on_encryption_is_told(
    connect: Connect, answer: Answer, code: str, remedy: str
) -> None:
    with (
        proxy("http://127.0.0.1:1", lambda *_: answer) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        connect(endpoint=endpoint).write("key", b"body")
    assert caught.value.code == code
    assert remedy in caught.value.hint


@pytest.fixture
def temporary(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The storage with its keys and a session token in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(storage.access_key))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(storage.secret_key))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-the-session")
    client._session.cache_clear()
    yield replace(storage, access_key=None, secret_key=None)
    client._session.cache_clear()


@on_seaweed
def test_a_session_token_is_sent_and_named_where_it_is_refused(temporary: Storage) -> None:
    sent: list[str] = []

    def meddle(request: Request, forward: Forward) -> Answer:
        sent.append(request.headers.get("X-Amz-Security-Token", ""))
        return forward()

    with (
        proxy(str(temporary.endpoint), meddle) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        Store(replace(temporary, endpoint=endpoint)).read("key")
    assert sent == ["token-of-the-session"]
    assert caught.value.code == "s3.signature"
    assert "AWS_SESSION_TOKEN" in caught.value.hint
    assert "token-of-the-session" not in str(caught.value)


@pytest.fixture
def role(storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Storage]:
    """The storage without keys, for a host that may ask for those of a role."""
    token = tmp_path / "token"
    token.write_text("token-of-the-host")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/backup")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", str(storage.endpoint))
    client._session.cache_clear()
    yield replace(storage, access_key=None, secret_key=None)
    client._session.cache_clear()


@pytest.mark.parametrize("storage", ["moto"], indirect=True)
def test_the_keys_of_a_role_are_asked_for(role: Storage) -> None:
    signed: list[str] = []

    def meddle(request: Request, forward: Forward) -> Answer:
        signed.append(request.headers["Authorization"])
        return forward()

    with proxy(str(role.endpoint), meddle) as endpoint:
        Store(replace(role, endpoint=endpoint)).write("key", b"body")
    assert Store(role).read("key") == b"body"
    assert [line.partition("Credential=")[2][:4] for line in signed] == ["ASIA"]


@on_seaweed
def test_a_temporary_key_without_its_token_is_told(connect: Connect) -> None:
    with pytest.raises(BackupError) as caught:
        connect(access_key="ASIAEXAMPLE").read("key")
    assert "AWS_SESSION_TOKEN" in caught.value.hint


@on_seaweed
def test_an_http_proxy_is_used_but_not_for_hosts_of_no_proxy(
    store: Store, storage: Storage, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []

    def meddle(request: Request, forward: Forward) -> Answer:
        passed.append(request.path)
        return forward()

    with proxy(str(storage.endpoint), meddle) as through:
        monkeypatch.setenv("HTTP_PROXY", through)
        connect().write("key", b"body")
        assert passed[0].startswith(f"{storage.endpoint}/{storage.bucket}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert connect().read("key") == b"body"
    assert len(passed) == 1


@on_seaweed
def test_an_http_proxy_that_refuses_or_is_not_there_is_named(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy("http://127.0.0.1:1", lambda *_: Answer(407, {}, b"")) as refusing:
        monkeypatch.setenv("HTTP_PROXY", refusing)
        with pytest.raises(BackupError) as caught:
            connect().read("key")
        assert caught.value.code == "s3.proxy"
        monkeypatch.setenv("HTTPS_PROXY", refusing)
        with pytest.raises(UnreachableError) as unreached:
            connect(endpoint="https://s3.example.com", timeout=timedelta(0)).read("key")
        assert unreached.value.code == "s3.proxy"
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:1")
    with pytest.raises(UnreachableError) as caught:
        connect(timeout=timedelta(0)).read("key")
    assert caught.value.code == "s3.proxy"
    assert "HTTP_PROXY" in caught.value.hint
    assert "hush" not in str(caught.value)


@on_seaweed
def test_an_endpoint_may_be_an_ipv6_address(storage: Storage, connect: Connect) -> None:
    try:
        with proxy(str(storage.endpoint), lambda _, go: go(), serve=OnIPv6) as endpoint:
            for style in ("path", "virtual", "auto"):
                store = connect(endpoint=endpoint, addressing_style=style)
                store.write("key", b"body")
                assert store.read("key") == b"body"
    except OSError:
        pytest.skip("this host has no IPv6")


@on_seaweed
@pytest.mark.parametrize("style", ["path", "virtual", "auto"])
def test_a_bucket_with_dots_is_reached_by_tls(
    connect: Connect, storage: Storage, tmp_path: Path, style: str
) -> None:
    with (
        certified(tmp_path) as (certificate, context),
        proxy(str(storage.endpoint), lambda _, forward: forward(), context) as endpoint,
    ):
        dotted = connect(
            endpoint=endpoint,
            ca_file=certificate,
            bucket=f"with.dots.{next(_BUCKETS)}",
            addressing_style=style,
        )
        dotted.create_bucket()
        dotted.write("key", b"body")
        assert dotted.read("key") == b"body"
        found = findings(dotted.storage)
    assert ("addressing" in found) == (style == "virtual")
    assert found["reached"].mark is Mark.GOOD


@pytest.mark.parametrize("key", ["a+b", "a b", "a/b c/+", "a%2Fb", "a%2B b", "=+&?#"])
def test_a_key_is_stored_under_its_name_whatever_is_in_it(store: Store, key: str) -> None:
    store.write(key, b"body")
    assert store.read(key) == b"body"
    assert store.size(key) == 4
    assert [found.key for found in store.all_keys("")] == [key]
    store.delete([key])
    assert list(store.all_keys("")) == []


@pytest.mark.parametrize("storage", ["seaweed", "swift"], indirect=True)
def test_a_wrong_clock_is_told_whatever_is_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks: list[Callable[[], object]] = [
        lambda: list(store.keys("")),
        lambda: store.size("key"),
        lambda: store.write("key", b"body"),
    ]
    right: Callable[[], datetime] = botocore.auth.get_current_datetime
    with monkeypatch.context() as host:
        host.setattr(botocore.auth, "get_current_datetime", lambda: right() - timedelta(hours=1))
        for ask in asks:
            with pytest.raises(BackupError) as caught:
                ask()
            assert caught.value.code == "s3.clock"
            assert "NTP" in caught.value.hint


@on_seaweed
def test_a_wrong_clock_is_told_where_the_server_only_denies_access(storage: Storage) -> None:
    found: list[Finding] = []
    with proxy("http://127.0.0.1:1", lambda *_: refusal(403, "AccessDenied")) as endpoint:
        late = replace(storage, endpoint=endpoint)
        probe(late, HOST, lambda: now() + timedelta(hours=1), found.append)
    (reached,) = found
    assert (reached.mark, reached.remedy) == (Mark.BAD, "set the clock, by NTP for instance")


@on_seaweed
def test_where_head_is_forbidden_the_size_is_read_otherwise(
    store: Store, connect: Connect
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return Answer(403, {}, b"") if request.method == "HEAD" else forward()

    store.write("key", b"body")
    with proxy(str(store.storage.endpoint), meddle) as endpoint:
        assert connect(endpoint=endpoint).size("key") == 4
        assert connect(endpoint=endpoint).size("none") is None


@pytest.mark.parametrize("more", ["/some/path", "/{bucket}"])
def test_an_endpoint_that_says_too_much_is_told_with_the_right_one(
    storage: Storage, more: str
) -> None:
    wrong = f"{storage.endpoint}{more.format(bucket=storage.bucket)}"
    found: list[Finding] = []
    probe(replace(storage, endpoint=wrong), HOST, now, found.append)
    assert [finding.subject for finding in found] == ["reached"]
    assert found[0].remedy == f"set s3_endpoint: {storage.endpoint}"
    with pytest.raises(BackupError) as caught:
        list(Store(replace(storage, endpoint=wrong)).keys(""))
    assert caught.value.code in ("s3.no_bucket", "s3.signature", "s3.denied")


@on_seaweed
def test_https_where_http_was_written_is_found(storage: Storage, tmp_path: Path) -> None:
    with (
        certified(tmp_path) as (certificate, context),
        proxy(str(storage.endpoint), lambda _, forward: forward(), context) as endpoint,
    ):
        plain = endpoint.replace("https:", "http:")
        found: list[Finding] = []
        probe(replace(storage, endpoint=plain, ca_file=certificate), HOST, now, found.append)
    assert found[0].remedy == f"set s3_endpoint: {endpoint}"
