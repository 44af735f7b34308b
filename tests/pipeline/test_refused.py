"""Snapshots are taken on this host even while S3 refuses every request."""

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from tests.pipeline.conftest import Host
from tests.pipeline.test_failures import refusing


def test_a_snapshot_is_taken_here_while_s3_refuses_everything(host: Host) -> None:
    host.execute("create table wanted as select 1 as id")
    with refusing(host):
        outcome = host.sh("tb-discover | tb-snapshot | tb-upload")
        assert outcome.status == 1
        assert "access is denied" in outcome.stderr
        assert "the snapshot is taken on this host" in outcome.stderr
        (record,) = outcome.records
        assert record["snapshot"]["kind"] == "base"
        assert (record["error"]["tool"], record["error"]["code"]) == ("tb-upload", "s3.denied")
    (record,) = host.good("tb-discover | tb-upload").records
    assert len(record["uploaded"]["snapshots"]) == 1


def test_a_full_store_keeps_the_snapshot_here_and_gets_it_once_there_is_room(host: Host) -> None:
    host.execute("create table wanted as select 1 as id")

    def full(request: Request, forward: Forward) -> Answer:
        stores = request.method in ("PUT", "POST") and "data/" in request.path
        return refusal(403, "QuotaExceeded") if stores else forward()

    with proxy(host.s3.endpoint, full) as endpoint:
        host.configure(s3_endpoint=endpoint)
        (record,) = host.sh("tb-discover | tb-snapshot | tb-upload").records
        assert record["snapshot"]["kind"] == "base"
        assert record["error"]["code"] == "s3.full"
        assert "make room there" in record["error"]["hint"]
    host.configure()
    (record,) = host.good("tb-discover | tb-upload").records
    assert len(record["uploaded"]["snapshots"]) == 1


def test_nobody_says_that_nothing_is_stored_where_s3_could_not_be_asked(host: Host) -> None:
    with refusing(host):
        outcome = host.sh(f"tb-restore {host.table('wanted')}")
    assert outcome.status == 1
    assert "only what lies on this host can be restored meanwhile" in outcome.stderr
    assert "bucket is configured" not in outcome.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("s3_bucket", "nobody-made-it"), ("s3_secret_key", "expired")]
)
def test_a_key_or_a_bucket_that_is_no_longer_there_costs_no_snapshot(
    host: Host, option: str, value: str
) -> None:
    host.execute("create table wanted as select 1 as id")
    host.configure(**{option: value})
    (record,) = host.good("tb-discover | tb-snapshot").records
    assert record["snapshot"]["kind"] == "base"
    assert host.sh("tb-discover | tb-upload").status == 1
