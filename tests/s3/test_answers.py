"""What is made of answers of S3: they are repeated, followed, worked around, or explained."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse  # type: ignore[import-untyped]
from urllib3 import HTTPResponse

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3.store import Store

from .conftest import Connect
from .files import PART, fetch, send

pytestmark = pytest.mark.parametrize("storage", ["seaweed"], indirect=True)


def asked(connect: Connect, answer: Answer) -> BackupError:
    """Return the failure of a server that always answers so."""
    with (
        proxy("http://127.0.0.1:1", lambda request, forward: answer) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        connect(endpoint=endpoint).write("key", b"body")
    return caught.value


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            refusal(403, "QuotaExceeded"),
            "a quota or cap of it is used up (QuotaExceeded); make room there",
        ),
        (
            refusal(400, "ExpiredToken"),
            "the session token of the temporary access key has expired; renew AWS_SESSION_TOKEN",
        ),
        (
            refusal(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey"),
            "kms:GenerateDataKey); enable the key that encrypts the bucket",
        ),
        (refusal(403, "InvalidObjectState"), "lies in an archive and cannot be read now"),
        (Answer(507, {}, b""), "the store is full"),
        (Answer(413, {}, b"<html>"), "a proxy before the server must let through"),
    ],
)
def test_a_refusal_names_what_to_mend(connect: Connect, answer: Answer, sentence: str) -> None:
    assert sentence in str(asked(connect, answer))


@pytest.mark.parametrize(
    "passing",
    [
        refusal(400, "IncompleteBody"),
        refusal(400, "RequestTimeout"),
        refusal(409, "OperationAborted"),
        refusal(409, "ConditionalRequestConflict"),
        refusal(503, "SlowDownWrite"),
        Answer(522, {}, b""),
    ],
)
def test_what_passes_is_tried_again(store: Store, connect: Connect, passing: Answer) -> None:
    refusals = iter([passing])
    with proxy(
        str(store.storage.endpoint), lambda _, forward: next(refusals, None) or forward()
    ) as endpoint:
        connect(endpoint=endpoint).write("key", b"body")
    assert store.read("key") == b"body"


@pytest.mark.parametrize("answer", [refusal(409, "Another"), refusal(403, "QuotaExceeded")])
def test_what_does_not_pass_is_not_tried_again(connect: Connect, answer: Answer) -> None:
    with proxy("http://127.0.0.1:1", lambda *_: answer) as endpoint:
        refused = connect(endpoint=endpoint)
        with pytest.raises(BackupError):
            refused.write("key", b"body")
    assert refused.requests == 1


def without(name: str, answer: Answer) -> Answer:
    kept = {header: value for header, value in answer.headers.items() if header != name}
    return replace(answer, headers=kept)


@pytest.mark.parametrize("length", [None, "0"])
def test_a_length_that_head_does_not_tell_is_looked_up(
    store: Store, connect: Connect, length: str | None
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if request.method != "HEAD":
            return answer
        told = {} if length is None else {"Content-Length": length}
        return replace(answer, headers={**without("Content-Length", answer).headers, **told})

    store.write("key", b"body")
    store.write("key-of-another", b"long body")
    with proxy(str(store.storage.endpoint), meddle) as endpoint:
        assert connect(endpoint=endpoint).size("key") == 4
        assert connect(endpoint=endpoint).size("no-key") is None


@pytest.mark.parametrize("weak", [True, False])
def test_an_upload_needs_no_etags_in_headers(
    store: Store, connect: Connect, journal: Path, content: bytes, weak: bool
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if not weak:
            return without("ETag", without("Etag", answer))
        headers = {
            name: f"W/{value}" if name.lower() == "etag" else value
            for name, value in answer.headers.items()
        }
        return replace(answer, headers=headers)

    with proxy(str(store.storage.endpoint), meddle) as endpoint:
        uploaded = send(connect(endpoint=endpoint), io.BytesIO(content[: 3 * PART]), journal)
    assert fetch(store, uploaded) == content[: 3 * PART]


def test_a_server_that_begins_no_upload_is_told(
    connect: Connect, journal: Path, content: bytes
) -> None:
    nothing = Answer(200, {}, b"<InitiateMultipartUploadResult/>")
    with (
        proxy("http://127.0.0.1:1", lambda *_: nothing) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        send(connect(endpoint=endpoint), io.BytesIO(content[: 2 * PART]), journal)
    assert caught.value.code == "s3.incomplete_answer"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(501, "NotImplemented"),
        refusal(405, "MethodNotAllowed"),
        refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5"),
        refusal(400, "InvalidArgument"),
        refusal(400, "MalformedXML"),
        Answer(501, {}, b""),
        Answer(405, {}, b"<html>"),
        Answer(404, {}, b"<html>"),
        Answer(411, {}, b""),
    ],
)
def test_where_deleting_many_is_not_understood_keys_are_deleted_one_by_one(
    store: Store, connect: Connect, answer: Answer
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return answer if request.is_("POST", "delete") else forward()

    store.write("one", b"")
    store.write("two", b"")
    with proxy(str(store.storage.endpoint), meddle) as endpoint:
        connect(endpoint=endpoint).delete(["one", "two", "three"])
    assert list(store.keys("")) == []


def deletion(store: Store, **told: str) -> Answer:
    """Return an answer to DeleteObjects that could not delete the key `one`."""
    tags = "".join(f"<{name}>{value}</{name}>" for name, value in told.items())
    error = f"<Error><Key>{store.names('one')['Key']}</Key>{tags}</Error>"
    return Answer(200, {}, f"<DeleteResult>{error}</DeleteResult>".encode())


def test_a_key_that_was_not_deleted_for_the_moment_is_tried_again(
    store: Store, connect: Connect
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        busy = deletion(store, Code="InternalError", Message="Please try again.")
        return busy if request.is_("POST", "delete") else forward()

    store.write("one", b"")
    with proxy(str(store.storage.endpoint), meddle) as endpoint:
        connect(endpoint=endpoint).delete(["one"])
    assert store.size("one") is None


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        (
            {"Code": "AccessDenied"},
            "allow s3_access_key to delete there; the next run tries again",
        ),
        (
            {"Code": "AccessDenied", "Message": "object protected by object lock."},
            "wait until the lock ends, or have its owner end it; the next run tries again",
        ),
        ({"Code": "Unheard"}, "the next run tries again"),
    ],
)
def test_a_key_that_cannot_be_deleted_is_told_with_its_remedy(
    store: Store, connect: Connect, told: Mapping[str, str], hint: str
) -> None:
    with (
        proxy("http://127.0.0.1:1", lambda *_: deletion(store, **told)) as endpoint,
        pytest.raises(BackupError, match="one: the server did not delete it") as caught,
    ):
        connect(endpoint=endpoint).delete(["one"])
    assert (caught.value.code, caught.value.hint) == ("s3.undeleted", hint)


@pytest.fixture
def moved(storage: Storage) -> Iterator[tuple[str, str, list[Request]]]:
    """An address, the one where it sends every request on, and what arrives there."""
    arrived: list[Request] = []

    def receive(request: Request, forward: Forward) -> Answer:
        arrived.append(request)
        return forward()

    with proxy(str(storage.endpoint), receive) as there:

        def send_on(request: Request, _: Forward) -> Answer:
            return Answer(
                int(request.headers["X-Status"]), {"Location": there + request.path}, b""
            )

        with proxy("http://127.0.0.1:1", send_on) as here:
            yield here, there, arrived


def redirecting(here: str, storage: Storage, status: int, said: list[str]) -> Store:
    store = Store(replace(storage, endpoint=here), said.append)
    store.client.meta.events.register(
        "before-send.s3", lambda request, **_: request.headers.update({"X-Status": str(status)})
    )
    return store


@pytest.mark.parametrize(("status", "asked_here"), [(301, 1), (308, 1), (307, 3), (302, 3)])
def test_a_server_that_sends_us_on_is_followed(
    storage: Storage, moved: tuple[str, str, list[Request]], status: int, asked_here: int
) -> None:
    here, there, arrived = moved
    said: list[str] = []
    store = redirecting(here, storage, status, said)
    store.write("key", b"body")
    assert store.read("key") == b"body"
    assert store.size("key") == 4
    assert (len(arrived), store.requests) == (3, 3 + asked_here)
    assert set(said) == {f"{here}: the server sends us on; set s3_endpoint: {there}"}


def test_the_address_in_an_error_is_followed_and_its_region_signed_for(
    storage: Storage, connect: Connect
) -> None:
    arrived: list[str] = []

    def receive(request: Request, forward: Forward) -> Answer:
        arrived.append(request.headers["Authorization"])
        return forward()

    with proxy(str(storage.endpoint), receive) as there:
        address = there.removeprefix("http://")
        named = f"<Endpoint>{storage.bucket}.{address}</Endpoint>"
        body = f"<Error><Code>PermanentRedirect</Code>{named}</Error>"
        answer = Answer(301, {"x-amz-bucket-region": "eu-7"}, body.encode())
        with proxy("http://127.0.0.1:1", lambda *_: answer) as here:
            connect(endpoint=here).write("key", b"body")
    assert "/eu-7/s3/" in arrived[0]


def test_a_region_that_the_server_names_is_signed_for(storage: Storage) -> None:
    said: list[str] = []

    def meddle(request: Request, forward: Forward) -> Answer:
        if "/eu-7/s3/" in request.headers["Authorization"]:
            return forward()
        body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-7</Region></Error>"
        return Answer(400, {"x-amz-bucket-region": "eu-7"}, body)

    with proxy(str(storage.endpoint), meddle) as endpoint:
        store = Store(replace(storage, endpoint=endpoint), said.append)
        assert store.size("none") is None
        store.write("key", b"body")
    assert store.requests == 3
    assert said == [f"{endpoint}: the bucket is in another region; set s3_region: eu-7"]


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_a_bucket_in_another_region_of_aws_is_asked_there(connect: Connect, style: str) -> None:
    store = connect(endpoint=None, region="us-west-2", addressing_style=style)
    asked: list[tuple[str, bool]] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked.append((request.url, b"/eu-west-1/s3/" in request.headers["Authorization"]))
        status, headers = (
            (301, {"x-amz-bucket-region": "eu-west-1"}) if len(asked) == 1 else (404, {})
        )
        return AWSResponse(request.url, status, headers, HTTPResponse(io.BytesIO()))

    store.client.meta.events.register("before-send.s3.HeadObject", answer)
    assert store.size("key") is None
    assert store.size("key") is None
    host = "s3.eu-west-1.amazonaws.com"
    bucket = store.storage.bucket
    base = f"https://{bucket}.{host}" if style == "virtual" else f"https://{host}/{bucket}"
    assert asked[1:] == [(f"{base}/{store.storage.prefix}/key", True)] * 2


@pytest.mark.parametrize(
    "location", ["/login", "http://127.0.0.1:1/login?next=/", "", "http://{}/same"]
)
def test_a_redirect_elsewhere_is_not_followed(connect: Connect, location: str) -> None:
    def meddle(request: Request, _: Forward) -> Answer:
        return Answer(302, {"Location": location.format(request.headers["Host"])}, b"<html>")

    with proxy("http://127.0.0.1:1", meddle) as endpoint:
        store = connect(endpoint=endpoint)
        with pytest.raises(UnreachableError) as caught:
            store.read("key")
    assert (caught.value.code, store.requests) == ("s3.not_s3", 1)


def test_a_redirect_in_a_circle_ends(connect: Connect) -> None:
    addresses: list[str] = []

    def meddle(request: Request, _: Forward) -> Answer:
        other = next(address for address in addresses if request.headers["Host"] not in address)
        return Answer(307, {"Location": other + request.path}, b"")

    with proxy("http://127.0.0.1:1", meddle) as one, proxy("http://127.0.0.1:1", meddle) as two:
        addresses += one, two
        store = connect(endpoint=one, timeout=timedelta(0))
        with pytest.raises(UnreachableError):
            store.read("key")
    assert store.requests == 4
