"""A bucket is read as it was, past what was overwritten and deleted since."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.lab import versioned
from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.errors import BackupError
from three_backup.model.storage import Storage
from three_backup.s3 import multipart
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Worlds:
    """A bucket, and moments of it."""

    now: Store
    full: datetime  # all keys are there
    emptied: datetime  # they are deleted, before new ones are written

    def at(self, moment: datetime) -> Store:
        return Store(replace(self.now.storage, as_of=moment))


def tick() -> datetime:
    """Return a moment after all that was written: versions have times in whole seconds."""
    time.sleep(1.1)
    moment = datetime.now(UTC)
    time.sleep(1.1)
    return moment


@pytest.fixture(scope="module", params=["seaweed", "moto"])
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    server = request.getfixturevalue(request.param)
    bucket = f"past-{next(_NUMBERS)}"
    versioned.create_versioned(server, bucket)
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    folder: Path = tmp_path_factory.mktemp("past")
    store = Store(Storage(folder, server.endpoint, bucket, "host", **keys))
    for number in range(7):
        store.write(f"data/{number}", b"first %d" % number)
    upload_id = multipart.begin(store, "data/large")
    part = store.client.upload_part(
        **store.names("data/large"), UploadId=upload_id, PartNumber=1, Body=b"part"
    )
    multipart.complete(store, "data/large", upload_id, {1: part["ETag"].strip('"')})
    full = tick()
    store.write("data/1", b"garbage")
    store.write("data/1", b"more garbage")
    tick()
    store.delete([found.key for found in store.all_keys("")])
    emptied = tick()
    store.write("data/1", b"again")
    store.write("data/12", b"later")
    return Worlds(store, full, emptied)


def names(store: Store, prefix: str = "", at_once: int | None = None) -> list[str]:
    return sorted(found.key for found in store.all_keys(prefix, at_once=at_once))


def test_what_was_overwritten_and_deleted_is_listed_and_read(worlds: Worlds) -> None:
    then = worlds.at(worlds.full)
    every = [*(f"data/{number}" for number in range(7)), "data/large"]
    for at_once in (None, 1, 2, 3):
        assert names(then, at_once=at_once) == every
    assert [then.read(key) for key in every[:3]] == [b"first 0", b"first 1", b"first 2"]
    assert then.read_range("data/1", 2, 3) == b"rst"
    assert then.read("data/large") == b"part"
    assert then.size("data/1") == 7
    sizes = {found.key: found.size for found in then.all_keys("data/1")}
    assert sizes == {"data/1": 7}
    assert sorted(found.key for found in then.keys("data/", after="data/4"))[0] == "data/5"
    assert list(then.folders("")) == ["data"]
    assert sorted(then.names_in("data/")) == [key[5:] for key in every]
    etags = dict(then.all_etags("data/"))
    assert etags["data/1"] != dict(worlds.now.all_etags("data/"))["data/1"]


def test_what_was_deleted_then_is_not_there(worlds: Worlds) -> None:
    then = worlds.at(worlds.emptied)
    assert names(then) == []
    assert then.size("data/1") is None
    with pytest.raises(MissingError, match="did not exist then"):
        then.read("data/1")


def test_what_was_written_later_is_not_there(worlds: Worlds) -> None:
    before = worlds.at(worlds.full - timedelta(days=1))
    assert names(before) == []
    assert worlds.at(worlds.full).size("data/12") is None
    assert names(worlds.at(datetime.now(UTC) + timedelta(seconds=2))) == ["data/1", "data/12"]


def test_nothing_is_written_to_the_past(worlds: Worlds) -> None:
    then = worlds.at(worlds.full)
    acts: list[Callable[[], None]] = [
        lambda: then.write("data/1", b""),
        lambda: then.delete(["data/1"]),
    ]
    for act in acts:
        with pytest.raises(BackupError, match="what there was is only read"):
            act()
    assert worlds.now.read("data/1") == b"again"


def test_a_bucket_without_versions_has_no_past(storage: Storage) -> None:
    Store(storage).write("data/1", b"x")
    then = Store(replace(storage, as_of=datetime.now(UTC)))
    for act in (lambda: names(then), lambda: then.read("data/1")):
        with pytest.raises(BackupError, match="keeps no versions"):
            act()


def test_a_key_that_may_not_list_versions_is_told_so(worlds: Worlds) -> None:
    def meddle(request: Request, forward: Forward) -> Answer:
        hidden = request.is_("GET", "versions") or request.is_("GET", "versioning")
        return refusal(403, "AccessDenied") if hidden else forward()

    with proxy(str(worlds.now.storage.endpoint), meddle) as endpoint:
        then = Store(replace(worlds.now.storage, endpoint=endpoint, as_of=worlds.full))
        with pytest.raises(BackupError, match="access is denied"):
            names(then)
