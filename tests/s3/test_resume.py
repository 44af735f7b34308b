"""An interrupted upload resumes in the same multipart upload, and never stores wrong bytes."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lab.fault_proxy import Answer, Forward, Meddle, Request, proxy, refusal
from three_backup.demo.seaweed import SeaweedServer
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3.journal import Journal, begun, read
from three_backup.s3.seal import Check, Proof
from three_backup.s3.store import Store
from three_backup.s3.upload import SourceChangedError, upload

from .conftest import Connect
from .files import KEY, PART, BrokenOff, fetch, pipe_of, send

_ETAG = re.compile(rb"\b[0-9a-f]{32}\b")
SIZE = 3 * PART + 11
"""Two volumes: one of two parts, and one of a part and 11 bytes."""


def break_off(store: Store, content: bytes, journal: Path, parts: int) -> None:
    """Upload so many parts, and fail."""
    with pytest.raises(OSError, match="broken off"):
        send(store, BrokenOff(content[:SIZE], parts * PART + 1), journal)


def upload_id(journal: Path, number: int) -> str:
    written = read(journal)
    assert written is not None
    return str(written.volumes[number].upload_id)


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_file_is_resumed_behind_the_parts_that_arrived(
    store: Store, content: bytes, journal: Path, parts: int
) -> None:
    break_off(store, content, journal, parts)
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal, SIZE)
    assert uploaded.resumed == parts * PART
    assert fetch(store, uploaded) == content[:SIZE]


def test_a_pipe_is_resumed_inside_the_same_upload(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 3)
    before = upload_id(journal, 2)
    with pipe_of(content[:SIZE]) as source:
        uploaded = send(store, source, journal)
    assert upload_id(journal, 2) == before
    assert uploaded.resumed == 3 * PART
    assert fetch(store, uploaded) == content[:SIZE]


def test_what_is_complete_is_not_sent_again(store: Store, content: bytes, journal: Path) -> None:
    send(store, io.BytesIO(content[:SIZE]), journal)
    before = store.requests
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == SIZE
    assert store.requests - before == 2  # a HEAD for each volume


def test_a_volume_that_vanished_is_sent_again(store: Store, content: bytes, journal: Path) -> None:
    send(store, io.BytesIO(content[:SIZE]), journal)
    store.delete([f"{KEY}.00001"])
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == SIZE - 2 * PART
    assert fetch(store, uploaded) == content[:SIZE]


def test_a_killed_process_is_continued(storage: Storage, content: bytes, journal: Path) -> None:
    store = Store(storage)
    size, arrived = 8 * PART, 3
    with _process(storage, journal) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(content[: (arrived + 1) * PART])
        process.stdin.flush()
        for _ in range(arrived):
            process.stdout.readline()
        process.kill()
    before = upload_id(journal, 1)
    requests = store.requests
    store.proof = Proof(Check.MD5)  # proven for an earlier file of the run
    with pipe_of(content[:size]) as source:
        uploaded = upload(store, "file", source, None, journal, lambda count: None, PART)
    again = 8 - uploaded.resumed // PART
    assert upload_id(journal, 1) == before
    assert uploaded.resumed >= arrived * PART
    assert store.requests - requests == again + 3  # ListParts, Complete and HEAD
    assert store.read("file.00001") == content[:size]


def test_a_killed_server_is_continued(
    server_folder: Path, content: bytes, journal: Path, tmp_path: Path
) -> None:
    with SeaweedServer(server_folder / "killed") as server:
        server.create_bucket("bucket")
        keys = (server.access_key, server.secret_key)
        storage = Storage(tmp_path, server.endpoint, "bucket", "", None, *keys)
        impatient = Store(replace(storage, timeout=timedelta(0)))
        moved: list[int] = []

        def kill_after_three(count: int) -> None:
            moved.append(count)
            if len(moved) == 3:
                server.kill()

        with pytest.raises(UnreachableError), io.BytesIO(content) as source:
            upload(impatient, KEY, source, None, journal, kill_after_three, PART)
        before = upload_id(journal, 1)
        server.start()
        store = Store(storage)
        uploaded = upload(store, KEY, io.BytesIO(content), None, journal, lambda count: None, PART)
        assert upload_id(journal, 1) == before
        assert uploaded.resumed >= 3 * PART
        assert store.read(f"{KEY}.00001") == content


@pytest.mark.parametrize("changed", [0, PART, 2 * PART + 1])
def test_a_file_that_changed_is_stored_as_it_is_now(
    store: Store, content: bytes, journal: Path, changed: int
) -> None:
    break_off(store, content, journal, 3)
    now = bytearray(content[:SIZE])
    now[changed] ^= 1
    uploaded = send(store, io.BytesIO(now), journal)
    assert fetch(store, uploaded) == now


@pytest.mark.parametrize("size", [0, PART, 2 * PART, 3 * PART, SIZE + PART])
def test_a_file_that_became_shorter_or_longer_is_stored_as_it_is_now(
    store: Store, content: bytes, journal: Path, size: int
) -> None:
    send(store, io.BytesIO(content[:SIZE]), journal)
    uploaded = send(store, io.BytesIO(content[:size]), journal)
    assert fetch(store, uploaded) == content[:size]
    assert len(list(store.keys(KEY))) == uploaded.volumes


@pytest.mark.parametrize("changed", [0, 3 * PART - 1])
def test_a_pipe_that_changed_is_refused_once_and_then_sent_anew(
    store: Store, content: bytes, journal: Path, changed: int
) -> None:
    break_off(store, content, journal, 3)
    now = bytearray(content[:SIZE])
    now[changed] ^= 1
    with pipe_of(bytes(now)) as source, pytest.raises(SourceChangedError):
        send(store, source, journal)
    with pipe_of(bytes(now)) as source:
        uploaded = send(store, source, journal)
    assert fetch(store, uploaded) == now


def test_a_part_that_the_server_has_twice_is_not_trusted(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 1)
    key, first = f"{KEY}.00001", upload_id(journal, 1)
    store.client.upload_part(**store.names(key), UploadId=first, PartNumber=1, Body=bytes(PART))
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 0
    assert fetch(store, uploaded) == content[:SIZE]


def test_without_its_journal_an_upload_begins_anew(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 3)
    journal.unlink()
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 0
    assert fetch(store, uploaded) == content[:SIZE]


def test_a_torn_journal_loses_no_part(store: Store, content: bytes, journal: Path) -> None:
    break_off(store, content, journal, 3)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20] + bytes(100))
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 3 * PART
    assert fetch(store, uploaded) == content[:SIZE]


def test_an_upload_that_somebody_aborted_begins_anew(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 3)
    key = f"{KEY}.00002"
    store.client.abort_multipart_upload(**store.names(key), UploadId=upload_id(journal, 2))
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 2 * PART
    assert fetch(store, uploaded) == content[:SIZE]


def test_a_completion_whose_answer_was_lost_is_recognised(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    def lose(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if request.is_("POST", "uploadId"):
            return refusal(404, "NoSuchUpload")
        return answer

    with proxy(str(store.storage.endpoint), lose) as endpoint:
        uploaded = send(connect(endpoint=endpoint), io.BytesIO(content[:SIZE]), journal)
    assert fetch(store, uploaded) == content[:SIZE]


def test_a_run_that_died_behind_the_completion_is_continued(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    def die(request: Request, forward: Forward) -> Answer:
        answer = forward()
        return refusal(403, "AccessDenied") if request.is_("POST", "uploadId") else answer

    with (
        proxy(str(store.storage.endpoint), die) as endpoint,
        pytest.raises(BackupError),
    ):
        send(connect(endpoint=endpoint), io.BytesIO(content[: 2 * PART]), journal)
    uploaded = send(store, io.BytesIO(content[: 2 * PART]), journal)
    assert uploaded.resumed == 2 * PART
    assert fetch(store, uploaded) == content[: 2 * PART]


def test_an_upload_that_vanishes_before_its_completion_is_an_error(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    def vanish(request: Request, forward: Forward) -> Answer:
        if request.is_("POST", "uploadId"):
            return refusal(404, "NoSuchUpload")
        return forward()

    with (
        proxy(str(store.storage.endpoint), vanish) as endpoint,
        pytest.raises(BackupError) as caught,
    ):
        send(connect(endpoint=endpoint), io.BytesIO(content[: 2 * PART]), journal)
    assert caught.value.code == "s3.incomplete"
    uploaded = send(store, io.BytesIO(content[: 2 * PART]), journal)
    assert fetch(store, uploaded) == content[: 2 * PART]


def test_where_etags_are_no_md5s_the_journal_proves_the_parts(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    with proxy(str(store.storage.endpoint), _encrypting(store)) as endpoint:
        encrypted = connect(endpoint=endpoint)
        break_off(encrypted, content, journal, 3)
        uploaded = send(encrypted, io.BytesIO(content[:SIZE]), journal)
        assert uploaded.resumed == 3 * PART
        assert fetch(store, uploaded) == content[:SIZE]


def test_where_etags_are_no_md5s_parts_that_no_journal_knows_are_not_trusted(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    with proxy(str(store.storage.endpoint), _encrypting(store)) as endpoint:
        encrypted = connect(endpoint=endpoint)
        break_off(encrypted, content, journal, 3)
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:-1]))
        uploaded = send(encrypted, io.BytesIO(content[:SIZE]), journal)
        assert uploaded.resumed == 2 * PART
        assert fetch(store, uploaded) == content[:SIZE]


def test_an_upload_keeps_the_part_size_it_began_with(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 3)
    uploaded = upload(
        store, KEY, io.BytesIO(content[:SIZE]), SIZE, journal, lambda count: None, 2 * PART
    )
    assert uploaded.volume_size == 2 * PART
    assert uploaded.resumed == 3 * PART


def test_the_journal_of_another_key_waits_for_its_turn(
    store: Store, content: bytes, journal: Path
) -> None:
    break_off(store, content, journal, 3)
    written = read(journal)
    assert written is not None
    with Journal(journal, replace(written.plan, key="other")) as other:
        assert other.volumes == {}
        other.opening(1)
    assert [upload.plan.key for upload in begun(journal.parent)] == [KEY, "other"]
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 3 * PART


def open_uploads(store: Store) -> list[str]:
    answer = store.client.list_multipart_uploads(Bucket=store.storage.bucket)
    return [str(upload["Key"]) for upload in answer.get("Uploads", ())]


@pytest.mark.parametrize("lost", [refusal(403, "AccessDenied"), Answer(503, {}, b"")])
def test_an_upload_whose_id_nobody_heard_does_not_stay(
    store: Store, connect: Connect, content: bytes, journal: Path, lost: Answer
) -> None:
    losses = iter([lost])

    def lose(request: Request, forward: Forward) -> Answer:
        answer = forward()
        return next(losses, answer) if request.is_("POST", "uploads") else answer

    with (
        proxy(str(store.storage.endpoint), lose) as endpoint,
        suppress(BackupError),
    ):
        send(connect(endpoint=endpoint), io.BytesIO(content[:SIZE]), journal)
    assert next(losses, None) is None
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert open_uploads(store) == []
    assert fetch(store, uploaded) == content[:SIZE]


@contextmanager
def _process(storage: Storage, journal: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "tests.s3.uploading", str(storage.endpoint)]
    argv += [str(storage.bucket), str(storage.access_key), str(storage.secret_key)]
    argv += [str(journal), "2", str(PART)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            yield process
        finally:
            process.kill()


def _encrypting(store: Store) -> Meddle:
    """Return a meddler that gives ETags as a bucket with SSE-KMS: 32 digits that are no MD5."""

    def meddle(request: Request, forward: Forward) -> Answer:
        if request.is_("POST", "uploadId"):
            return _complete(store, request)
        answer = forward()
        headers = dict(answer.headers)
        if "ETag" in headers:
            headers["ETag"] = _ETAG.sub(_reversed, headers["ETag"].encode()).decode()
        return Answer(answer.status, headers, _ETAG.sub(_reversed, answer.body))

    return meddle


def _complete(store: Store, request: Request) -> Answer:
    """Complete the upload anew: the signed request cannot be forwarded with other ETags."""
    url = urlsplit(request.path)
    etags = [_reversed(match).decode() for match in _ETAG.finditer(request.body)]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    store.client.complete_multipart_upload(
        **store.names(url.path.partition(f"/{store.storage.prefix}/")[2]),
        UploadId=parse_qs(url.query)["uploadId"][0],
        MultipartUpload={"Parts": parts},
    )
    return Answer(200, {}, b"<CompleteMultipartUploadResult/>")


def _reversed(etag: re.Match[bytes]) -> bytes:
    return etag[0][::-1]
