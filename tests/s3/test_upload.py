"""Files and streams of any length are stored in volumes and read back equal."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3.journal import begun, forget
from three_backup.s3.seal import Check, Proof
from three_backup.s3.store import Store
from three_backup.s3.upload import SourceChangedError, Uploaded, abandon, upload

from .conftest import Connect
from .files import KEY, PART, PARTS, BrokenOff, fetch, pipe_of, send

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "size",
    [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART + 7],
)
def test_a_file_comes_back_as_it_was(
    store: Store, content: bytes, journal: Path, size: int
) -> None:
    uploaded = send(store, io.BytesIO(content[:size]), journal, size)
    volumes = max(1, -(-size // (PARTS * PART)))
    assert uploaded == Uploaded(size, PARTS * PART, volumes, resumed=0)
    assert fetch(store, uploaded) == content[:size]
    assert len(list(store.keys(KEY))) == volumes


@pytest.mark.parametrize("size", [0, PART, 2 * PART, 2 * PART + 1])
def test_a_pipe_of_unknown_length_comes_back_as_it_was(
    store: Store, content: bytes, journal: Path, size: int
) -> None:
    with pipe_of(content[:size]) as source:
        uploaded = send(store, source, journal)
    assert uploaded.size == size
    assert fetch(store, uploaded) == content[:size]


@pytest.mark.parametrize("size", [1, PART, 2 * PART + 1])
def test_a_key_for_others_to_read_keeps_its_name(
    store: Store, content: bytes, journal: Path, size: int
) -> None:
    with io.BytesIO(content[:size]) as source:
        upload(store, KEY, source, size, journal, lambda _: None, PART, whole=True)
    assert [found.key for found in store.all_keys("")] == [KEY]
    assert store.read(KEY) == content[:size]
    abandon(store, journal)
    assert list(store.all_keys("")) == []


def test_a_small_file_is_one_request(store: Store, journal: Path) -> None:
    send(store, io.BytesIO(b"small"), journal)
    assert store.requests == 1


def test_a_volume_takes_three_requests_beside_its_parts(
    store: Store, content: bytes, journal: Path
) -> None:
    store.proof = Proof(Check.MD5)  # proven for an earlier file of the run
    send(store, io.BytesIO(content[: 2 * PART]), journal)
    assert store.requests == 2 + 3


def test_every_byte_is_reported_once(store: Store, content: bytes, journal: Path) -> None:
    moved: list[int] = []
    size = 3 * PART + 5
    upload(store, KEY, io.BytesIO(content[:size]), size, journal, moved.append, PART, parts=PARTS)
    assert sum(moved) == size
    assert len(moved) == 4


def test_the_storage_class_goes_with_the_volumes(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    classes: list[str | None] = []

    def watch(request: Request, forward: Forward) -> Answer:
        if request.is_("POST", "uploads") or request.is_("PUT"):
            classes.append(request.headers.get("x-amz-storage-class"))
        return forward()

    with proxy(str(storage.endpoint), watch) as endpoint:
        store = connect(endpoint=endpoint, storage_class="STANDARD")
        send(store, io.BytesIO(b"small"), journal)
        store.write("manifest.json", b"{}")
    assert classes == ["STANDARD", None]


@pytest.mark.parametrize("announced", [PART, 3 * PART])
def test_a_file_of_another_length_than_announced_is_an_error(
    store: Store, content: bytes, journal: Path, announced: int
) -> None:
    with pytest.raises(SourceChangedError):
        send(store, io.BytesIO(content[: 2 * PART]), journal, size=announced)
    assert store.size(f"{KEY}.00001") is None


def test_a_source_that_breaks_off_completes_nothing(
    store: Store, content: bytes, journal: Path
) -> None:
    with pytest.raises(OSError, match="broken off"):
        send(store, BrokenOff(content[: 2 * PART], PART + 1), journal)
    assert list(store.keys("")) == []
    assert [upload.plan.key for upload in begun(journal.parent)] == [KEY]


def test_a_refused_part_stops_the_reading(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    def refuse(request: Request, forward: Forward) -> Answer:
        return refusal(403, "AccessDenied") if request.is_("PUT", "partNumber") else forward()

    source = io.BytesIO(content)
    with (
        proxy(str(store.storage.endpoint), refuse) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        upload(
            connect(endpoint=endpoint),
            KEY,
            source,
            None,
            journal,
            lambda count: None,
            part_size=PART,
            threads=1,
        )
    assert caught.value.code == "s3.denied"
    assert source.tell() <= 4 * PART


@pytest.mark.parametrize("after", [0, 1, 100_000, PART - 1])
def test_a_part_whose_connection_is_reset_amid_it_is_sent_again(
    store: Store, connect: Connect, content: bytes, journal: Path, after: int
) -> None:
    seen: set[str] = set()

    def cut(request: Request) -> int | None:
        if not request.is_("PUT", "partNumber") or request.path in seen:
            return None
        seen.add(request.path)
        return after

    with proxy(str(store.storage.endpoint), lambda _, forward: forward(), cut=cut) as endpoint:
        uploaded = send(connect(endpoint=endpoint), io.BytesIO(content[: 3 * PART + 7]), journal)
    assert len(seen) > 4  # those of the proof, too
    assert fetch(store, uploaded) == content[: 3 * PART + 7]


def test_a_part_with_its_md5_is_signed_without_its_content_and_all_else_with_it(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    requests: list[Request] = []

    def watch(request: Request, forward: Forward) -> Answer:
        requests.append(request)
        return forward()

    with proxy(str(store.storage.endpoint), watch) as endpoint:
        watched = connect(endpoint=endpoint)
        watched.proof = Proof(Check.MD5)
        send(watched, io.BytesIO(content[: 2 * PART]), journal)
    assert len(requests) == 2 + 3
    for request in requests:
        hashed = request.headers["X-Amz-Content-SHA256"] != "UNSIGNED-PAYLOAD"
        _, signed, _ = request.headers["Authorization"].split(", ")
        assert hashed or "content-md5" in signed
        assert hashed is not request.is_("PUT", "partNumber")


def test_a_part_whose_answer_is_another_md5_than_those_before_it_is_an_error(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    def damage(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if request.is_("PUT", "partNumber") and "partNumber=2" in request.path:
            return Answer(answer.status, {**answer.headers, "ETag": f'"{"0" * 32}"'}, b"")
        return answer

    with proxy(str(store.storage.endpoint), damage) as endpoint:
        damaged = connect(endpoint=endpoint)
        damaged.proof = Proof(Check.MD5)
        with pytest.raises(BackupError) as caught:
            upload(
                damaged,
                KEY,
                io.BytesIO(content[: 3 * PART]),
                None,
                journal,
                lambda count: None,
                part_size=PART,
                threads=1,
            )
    assert caught.value.code == "s3.damaged"
    assert list(store.keys("")) == []


def test_an_abandoned_upload_leaves_nothing(store: Store, content: bytes, journal: Path) -> None:
    store.write(f"{KEY}.index", b"another file")
    with pytest.raises(OSError, match="broken off"):
        send(store, BrokenOff(content, 3 * PART + 1), journal)
    assert store.size(f"{KEY}.00001") == 2 * PART
    abandon(store, journal)
    assert [found.key for found in store.keys("")] == [f"{KEY}.index"]
    assert not store.client.list_multipart_uploads(Bucket=store.storage.bucket).get("Uploads")
    assert begun(journal.parent) == []


def test_an_upload_to_another_bucket_is_not_abandoned(
    store: Store, connect: Connect, journal: Path
) -> None:
    send(store, io.BytesIO(b"small"), journal)
    with pytest.raises(BackupError, match=str(store.storage.bucket)):
        abandon(connect(prefix="another"), journal)
    assert journal.exists()
    assert store.size(f"{KEY}.00001") == 5


def test_a_forgotten_journal_is_gone_and_the_file_stays(store: Store, journal: Path) -> None:
    send(store, io.BytesIO(b"small"), journal)
    forget(journal)
    forget(journal)
    assert begun(journal.parent) == []
    assert store.size(f"{KEY}.00001") == 5


def test_memory_is_bounded_by_the_parts_under_way(storage: Storage, journal: Path) -> None:
    size, part, threads = 96 * MIB, 8 * MIB, 2
    argv = [sys.executable, "-m", "tests.s3.uploading", str(storage.endpoint)]
    argv += [str(storage.bucket), str(storage.access_key), str(storage.secret_key)]
    with pipe_of(os.urandom(size)) as source:
        output = subprocess.check_output(
            [*argv, str(journal), str(threads), str(part)], stdin=source
        )
    *moved, growth = map(int, output.split())
    assert sum(moved) == size
    assert growth < (threads + 1) * part + 16 * MIB
