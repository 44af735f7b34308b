"""Parts go with the hash that the store proves to check; none that arrives damaged is kept."""

import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab.dialects import certified
from tests.lab.fault_proxy import Answer, Damage, Forward, Request, proxy, refusal
from three_backup.errors import BackupError
from three_backup.model.hashed_stream import Hashed
from three_backup.model.storage import Storage
from three_backup.s3 import multipart
from three_backup.s3.journal import Journal, Plan, read
from three_backup.s3.seal import Check, Proof
from three_backup.s3.store import Store
from three_backup.s3.upload import upload

from .conftest import Connect
from .files import KEY, PART, PARTS, BrokenOff, fetch, pipe_of, send

SIZE = 3 * PART + 11
"""Two volumes: one of two parts, and one of a part and 11 bytes."""

EXPECTED = {"lab:administrator": Check.SIGNED, "demo": Check.CHECKSUM, "moto": Check.MD5}
"""The way of each server of the suite, by its access key."""

by_sha256 = pytest.mark.parametrize("storage", ["seaweed", "swift"], indirect=True)


def expected(storage: Storage) -> Check:
    return EXPECTED[str(storage.access_key)]


def check_of(store: Store) -> Check | None:
    return None if store.proof is None else store.proof.check


def open_uploads(store: Store) -> list[str]:
    answer = store.client.list_multipart_uploads(Bucket=store.storage.bucket)
    return [str(found["Key"]) for found in answer.get("Uploads", ())]


def is_part(request: Request) -> bool:
    """Whether the request sends a part of the file, and not of a proof."""
    return request.is_("PUT", "partNumber") and len(request.body) == PART


def flipped(number: int, at: int) -> Damage:
    """Return what flips one bit of the first such part."""
    done: list[int] = []

    def damage(request: Request) -> bytes:
        if done or not is_part(request) or f"partNumber={number}&" not in request.path + "&":
            return request.body
        done.append(number)
        body = bytearray(request.body)
        body[at] ^= 1
        return bytes(body)

    return damage


def straight(_request: Request, forward: Forward) -> Answer:
    return forward()


@pytest.mark.parametrize(("number", "at"), [(1, 0), (2, PART - 1)])
@pytest.mark.parametrize("tls", [False, True])
def test_a_part_that_is_damaged_on_its_way_is_found_out_and_sent_again(
    storage: Storage,
    connect: Connect,
    content: bytes,
    journal: Path,
    tmp_path: Path,
    number: int,
    at: int,
    tls: bool,
) -> None:
    with certified(tmp_path) as (ca_file, context):
        there = proxy(
            str(storage.endpoint),
            straight,
            context=context if tls else None,
            damage=flipped(number, at),
        )
        with there as endpoint:
            behind = connect(endpoint=endpoint, ca_file=ca_file if tls else None)
            with pytest.raises(BackupError) as caught:
                send(behind, io.BytesIO(content[:SIZE]), journal)
            assert caught.value.code == "s3.damaged"
            assert check_of(behind) is expected(storage)
            assert behind.size(f"{KEY}.00001") is None
            again = connect(endpoint=endpoint, ca_file=ca_file if tls else None)
            uploaded = send(again, io.BytesIO(content[:SIZE]), journal)
    assert fetch(Store(storage), uploaded) == content[:SIZE]


def test_a_store_gets_the_hash_that_it_proves_to_check_and_is_asked_once(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    proofs: list[str] = []
    parts: list[tuple[Mapping[str, str], bytes]] = []

    def watch(request: Request, forward: Forward) -> Answer:
        if is_part(request):
            parts.append((request.headers, request.body))
        elif request.is_("PUT", "partNumber") and len(request.body) != 11:
            proofs.append(request.path)
        return forward()

    with proxy(str(storage.endpoint), watch) as endpoint:
        watched = connect(endpoint=endpoint)
        send(watched, io.BytesIO(content[:SIZE]), journal)
        before = len(proofs)
        send(watched, io.BytesIO(content[:SIZE]), journal.with_name("another.journal"))
    assert check_of(watched) is expected(storage)
    assert len(proofs) == before <= 3
    assert len(parts) == 2 * 3
    for headers, body in parts:
        assert told(headers) == (expected(storage), digest(expected(storage), body))


def told(headers: Mapping[str, str]) -> tuple[Check, str]:
    """Return the hash of a part in its headers, and which it is; the dearest if it is twice."""
    lower = {name.lower(): value for name, value in headers.items()}
    names = [Check.MD5.value.lower(), Check.CHECKSUM.value, Check.SIGNED.value]
    name = next(name for name in names if name in lower)
    return {check.value.lower(): check for check in Check}[name], lower[name]


def digest(check: Check, body: bytes) -> str:
    sha256, md5 = hashlib.sha256(body), hashlib.md5(body, usedforsecurity=False)
    if check is Check.SIGNED:
        return sha256.hexdigest()
    return b64encode((md5 if check is Check.MD5 else sha256).digest()).decode()


def test_a_proof_leaves_nothing(store: Store, content: bytes, journal: Path) -> None:
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert open_uploads(store) == []
    assert sorted(found.key for found in store.all_keys("")) == [f"{KEY}.00001", f"{KEY}.00002"]
    assert fetch(store, uploaded) == content[:SIZE]


def test_what_a_proof_that_was_killed_left_becomes_no_part(
    store: Store, content: bytes, journal: Path
) -> None:
    key = f"{KEY}.00001"
    upload_id = multipart.begin(store, key)
    junk = store.client.upload_part(
        **store.names(key), UploadId=upload_id, PartNumber=1, Body=b"three_backup"
    )
    assert junk["ETag"]
    storage = store.storage
    plan = Plan(str(storage.bucket), storage.prefix, KEY, PART, PARTS)
    with Journal(journal, plan) as left:
        left.opening(1)
        left.opened(1, upload_id)
    uploaded = send(store, io.BytesIO(content[:SIZE]), journal)
    assert uploaded.resumed == 0
    assert fetch(store, uploaded) == content[:SIZE]
    assert open_uploads(store) == []


def test_what_is_sent_in_one_request_needs_no_proof(store: Store, journal: Path) -> None:
    send(store, io.BytesIO(b"small"), journal)
    assert store.proof is None
    assert store.requests == 1


def test_a_key_that_may_not_abort_uploads_all_the_same(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    def refuse(request: Request, forward: Forward) -> Answer:
        return refusal(403, "AccessDenied") if request.is_("DELETE", "uploadId") else forward()

    with proxy(str(storage.endpoint), refuse) as endpoint:
        uploaded = send(connect(endpoint=endpoint), io.BytesIO(content[:SIZE]), journal)
    assert fetch(Store(storage), uploaded) == content[:SIZE]


def test_a_bucket_that_demands_an_md5_gets_it(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    def demand(request: Request, forward: Forward) -> Answer:
        names = {name.lower() for name in request.headers}
        if request.is_("PUT", "partNumber") and "content-md5" not in names:
            return refusal(400, "InvalidRequest", "Content-MD5 is required with Object Lock")
        return forward()

    with proxy(str(storage.endpoint), demand) as endpoint:
        locked = connect(endpoint=endpoint)
        uploaded = send(locked, io.BytesIO(content[:SIZE]), journal)
    assert check_of(locked) is Check.MD5
    assert fetch(Store(storage), uploaded) == content[:SIZE]


def test_a_store_that_refuses_the_right_hash_too_has_proven_nothing(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    def refuse(request: Request, forward: Forward) -> Answer:
        names = {name.lower() for name in request.headers}
        if request.is_("PUT", "partNumber") and "content-md5" not in names:
            return refusal(400, "BadDigest")
        return forward()

    with proxy(str(storage.endpoint), refuse) as endpoint:
        strange = connect(endpoint=endpoint)
        uploaded = send(strange, io.BytesIO(content[:SIZE]), journal)
    assert check_of(strange) is Check.MD5
    assert fetch(Store(storage), uploaded) == content[:SIZE]


@by_sha256
def test_an_answer_that_tells_another_sha256_is_an_error(
    storage: Storage, connect: Connect, content: bytes, journal: Path
) -> None:
    def lie(request: Request, forward: Forward) -> Answer:
        answer = forward()
        if not is_part(request):
            return answer
        return Answer(answer.status, {**answer.headers, Check.CHECKSUM.value: "AAAA"}, answer.body)

    with proxy(str(storage.endpoint), lie) as endpoint, pytest.raises(BackupError) as caught:
        send(connect(endpoint=endpoint), io.BytesIO(content[:SIZE]), journal)
    assert caught.value.code == "s3.damaged"
    assert Store(storage).size(f"{KEY}.00001") is None


@by_sha256
def test_a_hash_that_the_source_knows_is_the_one_that_the_store_checks(
    store: Store, content: bytes, journal: Path
) -> None:
    asked: list[tuple[int, int]] = []

    def known(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return hashlib.sha256(content[offset : offset + length]).digest()

    def another(offset: int, length: int) -> bytes:
        return hashlib.sha256(b"another").digest()

    with pytest.raises(BackupError) as caught:
        upload(store, KEY, io.BytesIO(content), None, journal, lambda _: None, PART, known=another)
    assert caught.value.code == "s3.damaged"
    upload(store, KEY, io.BytesIO(content), None, journal, lambda _: None, PART, known=known)
    assert asked == [(offset, PART) for offset in range(0, len(content), PART)]
    assert store.read(f"{KEY}.00001") == content


def test_a_hashed_stream_is_resumed_by_the_hashes_that_it_makes(
    store: Store, content: bytes, journal: Path
) -> None:
    def pieces(source: io.BufferedIOBase) -> int:
        hashed = Hashed(source, PART)
        uploaded = upload(
            store, KEY, hashed, None, journal, lambda _: None, PART, known=hashed.sha256
        )
        assert [
            hashlib.sha256(content[start : min(start + PART, SIZE)]).hexdigest()
            for start in range(0, SIZE, PART)
        ] == list(hashed.index().sha256)
        return uploaded.resumed

    with pytest.raises(OSError, match="broken off"):
        pieces(BrokenOff(content[:SIZE], 2 * PART + 1))
    with pipe_of(content[:SIZE]) as source:
        assert pieces(source) == 2 * PART
    assert store.read(f"{KEY}.00001") == content[:SIZE]


@pytest.mark.parametrize("changed", [False, True])
def test_an_upload_that_an_earlier_version_began_is_continued(
    store: Store, connect: Connect, content: bytes, journal: Path, changed: bool
) -> None:
    earlier = connect()
    earlier.proof = Proof(Check.MD5)
    with pytest.raises(OSError, match="broken off"):
        send(earlier, BrokenOff(content[:SIZE], 3 * PART + 1), journal)
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    for line in lines:
        assert not line.pop("sha256", "")
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    now = bytearray(content[:SIZE])
    now[0] ^= changed
    uploaded = send(store, io.BytesIO(now), journal)
    assert uploaded.resumed == (PART if changed else 3 * PART)
    assert fetch(store, uploaded) == now


@by_sha256
def test_the_journal_notes_the_sha256_of_what_the_store_has(
    store: Store, content: bytes, journal: Path
) -> None:
    send(store, io.BytesIO(content[:PART] + content[:PART]), journal)
    written = read(journal)
    assert written is not None
    for part in written.volumes[1].parts.values():
        assert (part.sha256, part.md5) == (hashlib.sha256(content[:PART]).hexdigest(), "")
