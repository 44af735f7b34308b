"""A chain that two endpoints reach is restored by both, and is rewritten only where needed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.lab.fault_proxy import proxy
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.clickhouse import sql, stored

from .taking import Taking, rows, table
from .test_backup import insert, make

BODY = b"<config><base_backup>%s</base_backup><contents/></config>"


@pytest.fixture
def hits(live: ClickhouseServer, database: str, taking: Taking) -> ObjectId:
    """A table with a chain of four snapshots."""
    make(live, database, 100)
    hits = table(database, "hits")
    taking.chain(hits, insert(database, 1), insert(database, 2), insert(database, 3))
    return hits


@pytest.fixture
def elsewhere(live: ClickhouseServer, taking: Taking) -> Iterator[Taking]:
    """The same bucket by another endpoint, which exists during the test only."""
    with proxy(taking.storage.endpoint or "", lambda _, forward: forward()) as endpoint:
        yield Taking(live, replace(taking.storage, endpoint=endpoint))


def manifests(taking: Taking) -> dict[str, bytes]:
    keys = [key for key in taking.stored_keys() if key.endswith(stored.MANIFEST)]
    return {key: taking.store.read(key) for key in keys}


def test_a_restore_through_another_endpoint_spoils_the_first_one_for_nobody(
    live: ClickhouseServer, taking: Taking, hits: ObjectId
) -> None:
    before, written = rows(live, hits), manifests(taking)
    with proxy(taking.storage.endpoint or "", lambda _, forward: forward()) as endpoint:
        Taking(live, replace(taking.storage, endpoint=endpoint)).restore(hits, level3="there")
        assert len([key for key in written if manifests(taking)[key] != written[key]]) == 2
    taking.restore(hits, level3="here")
    for name in ("there", "here"):
        assert rows(live, replace(hits, level3=name)) == before


def test_a_chain_that_lies_where_it_says_is_not_rewritten(
    live: ClickhouseServer, taking: Taking, hits: ObjectId
) -> None:
    written = manifests(taking)
    foreign = Taking(live, replace(taking.storage, foreign=True))
    foreign.restore(hits, level3="copy")
    foreign.plan(hits, level3="again")
    assert manifests(taking) == written


def test_another_hosts_chain_that_is_spelt_otherwise_is_refused_with_the_remedy(
    live: ClickhouseServer, taking: Taking, elsewhere: Taking, hits: ObjectId
) -> None:
    written = manifests(taking)
    foreign = Taking(live, replace(elsewhere.storage, foreign=True))
    for attempt in (foreign.restore, foreign.plan):
        with pytest.raises(BackupError, match="an older link of the chain looks for") as refused:
            attempt(hits, level3="copy")
        assert refused.value.code == "clickhouse.elsewhere"
        assert "s3_endpoint" in refused.value.hint
        assert "--adopt" not in refused.value.hint
    foreign.restore(hits, last=1, level3="copy")
    assert manifests(taking) == written


@pytest.mark.parametrize(
    ("spelt", "shown"),
    [
        (b"S3('http://s3/b/a%20&amp;b')", "S3('http://s3/b/a%20&b')"),
        (b"S3(&apos;http://s3/b/x&apos;)", "S3('http://s3/b/x')"),
    ],
)
def test_where_a_base_lies_is_read_and_written_as_xml(spelt: bytes, shown: str) -> None:
    place = sql.S3Folder(shown, shown)
    assert stored.base_of(BODY % spelt) == shown
    assert stored.base_of(stored.rebased(BODY % b"S3('elsewhere')", place)) == shown
