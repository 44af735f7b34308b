"""The findings about an S3 server, for a good one and for servers that lack something."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.lab.fault_proxy import Answer, Forward, Meddle, Request, proxy, refusal
from three_backup.host.machine import Host
from three_backup.model.findings import Finding, Mark
from three_backup.model.storage import Storage
from three_backup.s3 import multipart, theft
from three_backup.s3.failures import MissingError
from three_backup.s3.probe import FOLDER, probe
from three_backup.s3.store import Store

HOST = Host("0123456789abcdef", "db1")
Behind = Callable[[Meddle], dict[str, Finding]]


def now() -> datetime:
    return datetime.now(UTC)


def findings(storage: Storage) -> dict[str, Finding]:
    """Probe, and return the findings by subject; of several for one subject, the worst."""
    found: list[Finding] = []
    probe(storage, HOST, now, found.append)
    order = list(Mark)
    return {
        finding.subject: finding
        for finding in sorted(found, key=lambda finding: order.index(finding.mark))
    }


@pytest.fixture
def behind(storage: Storage) -> Behind:
    """A function that returns the findings for the storage behind a proxy that meddles."""

    def through(meddle: Meddle) -> dict[str, Finding]:
        with proxy(str(storage.endpoint), meddle) as endpoint:
            return findings(replace(storage, endpoint=endpoint))

    return through


def test_a_good_server_is_found_good_and_left_empty(storage: Storage) -> None:
    found = findings(storage)
    lacking = {
        subject: finding.mark
        for subject, finding in found.items()
        if finding.mark is not Mark.GOOD
    }
    unchecked = {"checksums": Mark.NOTE} if storage.access_key == "moto" else {}
    assert lacking == {theft.SUBJECT: Mark.NOTE, **unchecked}
    assert found[theft.SUBJECT].sentence.startswith(
        "whoever steals them can delete and overwrite all backups"
    )
    assert {"multipart", "deleting", "ranges", "listing"} <= set(found)
    assert list(Store(storage).all_keys("")) == []


def test_the_hash_that_a_part_goes_with_is_told(storage: Storage) -> None:
    told = {
        "lab:administrator": "by its SHA-256, which is in the signature",
        "demo": "by its SHA-256, in x-amz-checksum-sha256",
        "moto": "goes with its MD5, which takes more CPU",
    }
    assert told[str(storage.access_key)] in findings(storage)["parts"].sentence


def test_what_a_killed_probe_left_is_cleared_away(storage: Storage) -> None:
    store = Store(storage)
    key = f"{FOLDER}parts"
    upload_id = multipart.begin(store, key)
    store.write(f"{FOLDER}open/parts", f"{upload_id} {key}".encode())
    store.write(f"{FOLDER}plain", b"left")
    store.write("owner.json", b'{"v":1,"host":"another"}')
    assert findings(storage)["owner"].mark is Mark.NOTE
    assert [stored.key for stored in store.all_keys("")] == ["owner.json"]
    with pytest.raises(MissingError):
        multipart.parts(store, key, upload_id)


def test_a_wrong_secret_is_told_with_the_options_to_set(storage: Storage) -> None:
    if storage.access_key == "moto":
        pytest.skip("moto takes any secret for right")
    found = findings(replace(storage, secret_key="wrong"))
    assert list(found) == ["reached"]
    assert found["reached"].mark is Mark.BAD
    assert "s3_secret_key" in found["reached"].remedy


def test_a_region_that_the_server_expects_is_named(behind: Behind) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        if "/eu-7/s3/" in request.headers["Authorization"]:
            return Answer(200, {}, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
        said = "the region 'us-east-1' is wrong; expecting 'eu-7'"
        return refusal(400, "AuthorizationHeaderMalformed", said)

    assert behind(meddle)["reached"].remedy == "set s3_region: eu-7"


def test_a_key_that_may_not_delete_is_found_out(behind: Behind) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        deletes = request.is_("POST", "delete") or request.method == "DELETE"
        return refusal(403, "AccessDenied") if deletes else forward()

    found = behind(meddle)
    assert found["deleting"].mark is Mark.NOTE
    assert "max_stage: rotated_locally" in found["deleting"].remedy
    assert Mark.BAD not in {finding.mark for finding in found.values()}
    assert "can overwrite all backups" in found[theft.SUBJECT].sentence


@pytest.mark.parametrize("may_delete", [True, False])
def test_versions_that_a_thief_cannot_delete_are_told(behind: Behind, may_delete: bool) -> None:
    """A bucket that keeps versions, as it answers; the newest is what is read."""

    def meddle(request: Request, forward: Forward) -> Answer:
        if "versionId=" in request.path:
            if request.method == "DELETE":
                return Answer(204, {}, b"") if may_delete else refusal(403, "AccessDenied")
            return Answer(404 if may_delete else 200, {}, b"")
        answer = forward()
        if request.method == "HEAD" and "/check/theft" in request.path:
            return Answer(answer.status, {**answer.headers, "x-amz-version-id": "one"}, b"")
        return answer

    sentence = behind(meddle)[theft.SUBJECT].sentence
    assert ("all backups, with all older versions" in sentence) is may_delete
    assert ("but not the older versions that the bucket keeps" in sentence) is not may_delete


def test_a_server_without_multipart_or_ranges_is_not_good(behind: Behind) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        if request.is_("POST", "uploads"):
            return refusal(501, "NotImplemented", "A header is not implemented")
        if "Range" in request.headers:
            return Answer(200, {}, b"tb-check was here\n")
        return forward()

    found = behind(meddle)
    assert {name for name, finding in found.items() if finding.mark is Mark.BAD} == {
        "multipart",
        "open uploads",
        "part numbers",
        "parts",
        "ranges",
    }


def test_a_server_that_lists_what_was_sent_in_parts_without_its_size_is_not_good(
    behind: Behind,
) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        answer = forward()
        wrong = answer.body.replace(b"<Size>5242881<", b"<Size>0<")
        headers = {**answer.headers, "Content-Length": str(len(wrong))}
        return answer if wrong == answer.body else Answer(answer.status, headers, wrong)

    found = behind(meddle)
    assert found["multipart"].mark is Mark.BAD
    assert "is listed with another size" in found["multipart"].sentence


def test_a_key_that_may_not_list_uploads_is_told_what_that_costs(behind: Behind) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return refusal(403, "AccessDenied") if request.is_("GET", "uploads") else forward()

    found = behind(meddle)
    assert found["open uploads"].mark is Mark.NOTE
    assert "s3:ListBucketMultipartUploads" in found["open uploads"].remedy
    assert Mark.BAD not in {finding.mark for finding in found.values()}


def test_a_store_that_deletes_one_by_one_will_do(behind: Behind) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        return refusal(501, "NotImplemented") if request.is_("POST", "delete") else forward()

    found = behind(meddle)
    assert found["deleting"].mark is Mark.NOTE
    assert Mark.BAD not in {finding.mark for finding in found.values()}


def test_a_clock_that_is_wrong_is_told_before_the_server_refuses(storage: Storage) -> None:
    found: list[Finding] = []
    probe(storage, HOST, lambda: now() + timedelta(minutes=10), found.append)
    assert found[0].mark is Mark.NOTE
    assert found[0].remedy.startswith("set the clock")
