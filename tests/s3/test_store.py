"""What every S3 server must do for us, and how its refusals are reported."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab.dialects import certified
from tests.lab.fault_proxy import Answer, Forward, Request, Storm, proxy, refusal
from three_backup.errors import BackupError, ConfigurationError, Exit, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3 import store as module
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store

from .conftest import Connect

STORM_SECONDS = 4
"""Seconds of a storm; tests/pipeline/test_failures.py has a longer one."""


def test_what_was_written_is_read(store: Store) -> None:
    store.write("manifests/a=20b/x.json", b"{}\n")
    assert store.read("manifests/a=20b/x.json") == b"{}\n"
    assert store.size("manifests/a=20b/x.json") == 3


def test_a_key_that_is_not_there_has_no_size_and_cannot_be_read(store: Store) -> None:
    assert store.size("nothing") is None
    with pytest.raises(MissingError) as caught:
        store.read("nothing")
    assert caught.value.code == "s3.missing"
    assert f"{store.place()}/nothing" in caught.value.message


def test_keys_are_listed_relative_to_the_prefix(store: Store) -> None:
    store.write("data/a/one", b"1")
    store.write("data/a=D0=96/two", b"22")
    store.write("data/b/three", b"333")
    listed = {found.key: found.size for found in store.keys("data/a")}
    assert listed == {"data/a/one": 1, "data/a=D0=96/two": 2}


def test_listed_keys_say_when_they_were_written(store: Store) -> None:
    store.write("key", b"")
    (found,) = store.keys("")
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=1)


def test_another_prefix_of_the_same_bucket_is_not_listed(store: Store, connect: Connect) -> None:
    connect(prefix="host.example2").write("key", b"")
    connect(prefix="").write("key", b"")
    assert list(store.keys("")) == []


def test_a_store_may_be_a_whole_bucket(connect: Connect) -> None:
    whole = connect(prefix="")
    whole.write("key", b"body")
    assert [found.key for found in whole.keys("")] == ["key"]
    assert whole.read("key") == b"body"


def test_keys_of_others_are_not_listed(store: Store) -> None:
    store.write("data/ours", b"")
    store.client.put_object(**store.names("data/not ours%2E+ж"), Body=b"")
    assert [found.key for found in store.keys("")] == ["data/ours"]


def test_a_range_is_read_exactly(store: Store) -> None:
    store.write("key", bytes(range(256)))
    assert store.read_range("key", 10, 20) == bytes(range(10, 30))
    assert store.read_range("key", 0, 256) == bytes(range(256))
    assert store.read_range("key", 255, 1) == b"\xff"
    assert store.read_range("key", 7, 0) == b""


@pytest.mark.parametrize(("offset", "length"), [(250, 10), (256, 1), (0, 257)])
def test_a_range_beyond_the_end_is_an_error(store: Store, offset: int, length: int) -> None:
    store.write("key", bytes(256))
    with pytest.raises(BackupError, match="key"):
        store.read_range("key", offset, length)


def test_many_keys_are_listed_and_deleted_a_thousand_at_a_time(store: Store) -> None:
    names = [f"data/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.write(name, b""), names))
    before = store.requests
    assert sorted(found.key for found in store.keys("")) == names
    store.delete([*names, "data/never-there"])
    assert store.requests - before == 4
    assert list(store.keys("")) == []


def test_deleting_nothing_asks_nothing(store: Store) -> None:
    store.delete([])
    assert store.requests == 0


def test_deletions_carry_the_md5_that_old_servers_demand(store: Store, connect: Connect) -> None:
    deletions: list[Request] = []

    def watch(request: Request, forward: Forward) -> Answer:
        deletions.extend([request] if request.is_("POST", "delete") else [])
        return forward()

    store.write("key", b"")
    with proxy(str(store.storage.endpoint), watch) as endpoint:
        connect(endpoint=endpoint).delete(["key"])
    (deletion,) = deletions
    assert "Content-MD5" in deletion.headers
    assert not [name for name in deletion.headers if "checksum" in name.lower()]
    assert store.size("key") is None


def test_where_deleting_many_is_refused_keys_are_deleted_one_by_one(
    store: Store, connect: Connect
) -> None:
    store.write("one", b"")
    store.write("two", b"")
    with proxy(str(store.storage.endpoint), _refuse_delete_objects) as endpoint:
        connect(endpoint=endpoint).delete(["one", "two", "three"])
    assert list(store.keys("")) == []


def test_a_key_that_could_not_be_deleted_is_named(store: Store, connect: Connect) -> None:
    store.write("one", b"")
    with (
        proxy(str(store.storage.endpoint), _refuse_every_deletion) as endpoint,
        pytest.raises(BackupError, match=r"one: the server did not delete it .* and 1 more"),
    ):
        connect(endpoint=endpoint).delete(["one", "two"])


def test_a_body_cut_short_is_asked_for_again(store: Store, connect: Connect) -> None:
    store.write("key", bytes(range(256)) * 100)
    cuts = iter([100, 0])

    def cut(request: Request, forward: Forward) -> Answer:
        answer = forward()
        return Answer(answer.status, answer.headers, answer.body, next(cuts, None))

    with proxy(str(store.storage.endpoint), cut) as endpoint:
        meddled = connect(endpoint=endpoint)
        assert meddled.read_range("key", 256, 512) == bytes(range(256)) * 2
    assert meddled.requests == 3


def test_what_is_too_large_for_its_kind_fills_no_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the bucket puts a key of many gigabytes in the place of a manifest."""
    monkeypatch.setattr(module, "_LARGEST", 3)
    store.write("key", b"abc")
    assert store.read("key") == b"abc"
    store.write("key", b"abcd")
    with pytest.raises(BackupError, match="it has 4 bytes, and no key of its kind is so large"):
        store.read("key")
    assert store.read_range("key", 0, 4) == b"abcd"


def test_a_server_that_ignores_the_range_is_an_error(store: Store, connect: Connect) -> None:
    store.write("key", bytes(range(256)))

    def ignore(request: Request, forward: Forward) -> Answer:
        return Answer(200, {}, bytes(10))

    with (
        proxy(str(store.storage.endpoint), ignore) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        connect(endpoint=endpoint).read_range("key", 10, 10)
    assert caught.value.code == "s3.range"


def test_too_many_requests_are_repeated(store: Store, connect: Connect) -> None:
    refusals = iter([Answer(429, {}, b"")])

    def throttle(request: Request, forward: Forward) -> Answer:
        return next(refusals, None) or forward()

    with proxy(str(store.storage.endpoint), throttle) as endpoint:
        patient = connect(endpoint=endpoint)
        patient.write("key", b"body")
    assert patient.requests == 2
    assert store.read("key") == b"body"


def test_who_waits_for_a_storm_to_pass_is_told_once(store: Store) -> None:
    said: list[str] = []
    storm = Storm(STORM_SECONDS, refusal(503, "SlowDown"))
    storage = replace(store.storage, timeout=timedelta(minutes=5))
    with proxy(str(store.storage.endpoint), storm) as endpoint:
        Store(replace(storage, endpoint=endpoint), said.append).write("key", b"body")
    assert store.read("key") == b"body"
    assert said
    assert set(said) == {
        f"{endpoint}: the S3 server asks for fewer requests; it is tried again for up to 0:05:00"
    }


def test_a_storm_that_does_not_pass_ends_in_time_and_is_not_waited_for_again(
    store: Store, connect: Connect
) -> None:
    with proxy(str(store.storage.endpoint), lambda *_: Answer(503, {}, b"")) as endpoint:
        stopped = connect(endpoint=endpoint)
        with pytest.raises(UnreachableError, match="the S3 server fails"):
            stopped.write("key", b"body")
        before = stopped.requests
        with pytest.raises(UnreachableError):
            stopped.read("key")
    assert before > 1
    assert stopped.requests == before + 1


def test_a_bucket_of_our_own_may_be_created_twice(storage: Storage, connect: Connect) -> None:
    store = connect(bucket=f"{storage.bucket}-new")
    store.create_bucket()
    store.create_bucket()
    store.write("key", b"")


def test_without_a_bucket_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Store(Storage(tmp_path))
    assert caught.value.status == Exit.CONFIGURATION


@pytest.mark.parametrize(
    ("changes", "code", "remedy"),
    [
        ({"bucket": "absent"}, "s3.no_bucket", "s3_bucket"),
        ({"bucket": "no bucket"}, "s3.invalid", "s3_bucket"),
        ({"secret_key": "wrong-secret"}, "s3.signature", "s3_secret_key"),
        ({"access_key": "nobody"}, "s3.signature", "s3_access_key"),
        ({"endpoint": "http://127.0.0.1:1"}, "s3.unreachable", "s3_endpoint"),
        ({"endpoint": "nonsense"}, "s3.endpoint", "s3_endpoint"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(
    storage: Storage, connect: Connect, changes: dict[str, str], code: str, remedy: str
) -> None:
    if code == "s3.signature" and storage.access_key == "moto":
        pytest.skip("moto takes any secret for right")
    with pytest.raises(BackupError) as caught:
        list(connect(**changes).keys(""))
    assert caught.value.code == code, str(caught.value)
    assert remedy in caught.value.hint
    assert "wrong-secret" not in str(caught.value)


def test_an_endpoint_that_does_not_answer_is_unreachable(connect: Connect) -> None:
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:1: "):
        connect(endpoint="http://127.0.0.1:1").read("key")


def test_tls_to_a_server_without_it_is_unreachable(storage: Storage, connect: Connect) -> None:
    with pytest.raises(UnreachableError) as caught:
        connect(endpoint=str(storage.endpoint).replace("http:", "https:")).read("key")
    assert caught.value.code == "s3.tls"


def test_https_is_spoken_with_an_authority_of_ones_own(
    storage: Storage, connect: Connect, tmp_path: Path
) -> None:
    with (
        certified(tmp_path) as (certificate, context),
        proxy(str(storage.endpoint), lambda _, forward: forward(), context) as endpoint,
    ):
        trusting = connect(endpoint=endpoint, ca_file=certificate)
        trusting.write("key", b"body")
        assert trusting.read("key") == b"body"
        trusting.delete(["key"])
        with pytest.raises(UnreachableError) as caught:
            connect(endpoint=endpoint, timeout=timedelta(0)).read("key")
        assert caught.value.code == "s3.tls"
        assert "s3_ca_file" in caught.value.hint
        with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
            connect(endpoint=endpoint, ca_file=tmp_path / "nowhere.pem").read("key")


def test_without_keys_the_options_are_named(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError) as caught:
        connect(access_key=None, secret_key=None).read("key")
    assert caught.value.code == "s3.no_keys"
    assert caught.value.hint == "set s3_access_key and s3_secret_key"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(403, "AccessDenied"), "s3.denied"),
        (refusal(403, "RequestTimeTooSkewed"), "s3.clock"),
        (refusal(400, "AuthorizationHeaderMalformed", "expecting 'ru-1'"), "s3.region"),
        (refusal(400, "InvalidStorageClass"), "s3.storage_class"),
        (refusal(507, "QuotaExceeded", "the bucket is full"), "s3.full"),
        (refusal(503, "SlowDown"), "s3.throttled"),
        (Answer(404, {}, b"<html>Page not found"), "s3.not_s3"),
        (Answer(403, {}, b""), "s3.denied"),
    ],
)
def test_a_refusal_of_the_server_has_a_code(connect: Connect, answer: Answer, code: str) -> None:
    with (
        proxy("http://127.0.0.1:1", lambda request, forward: answer) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        list(connect(endpoint=endpoint).keys(""))
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)


def _refuse_delete_objects(request: Request, forward: Forward) -> Answer:
    if request.is_("POST", "delete"):
        return refusal(501, "NotImplemented")
    return forward()


def _refuse_every_deletion(request: Request, forward: Forward) -> Answer:
    if request.is_("POST", "delete"):
        return refusal(501, "NotImplemented")
    return refusal(403, "AccessDenied")
