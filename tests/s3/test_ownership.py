"""One host writes below a prefix: another one is refused, and so is a copy of it."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.errors import BackupError, ConfigurationError, UnreachableError
from three_backup.host.machine import Host
from three_backup.model.storage import Storage
from three_backup.s3.ownership import claim, read
from three_backup.s3.store import OWNER, Store

from .conftest import Connect

DB1, COPY, OTHER = Host("id-1", "db1"), Host("id-1", "db1-copy"), Host("id-2", "db2")


def copied(storage: Storage) -> Storage:
    """Return the storage as a copy of the machine sees it, with a local_dir of its own."""
    folder = Path(f"{storage.local_dir}-copy")
    shutil.copytree(storage.local_dir, folder)
    return replace(storage, local_dir=folder)


def refused(store: Store, host: Host) -> str:
    with pytest.raises(ConfigurationError) as caught:
        claim(store, host)
    assert "--adopt" in caught.value.hint
    return caught.value.code


def test_the_first_host_owns_the_prefix_and_goes_on(store: Store, connect: Connect) -> None:
    claim(store, DB1)
    before = store.requests
    claim(store, DB1)
    assert store.requests == before
    for _ in range(3):
        again = connect()
        claim(again, DB1)
        assert again.requests <= 4  # 2, if the server knows conditions
    assert b"db1" in store.read(OWNER)


def test_another_host_is_refused_and_writes_nothing(store: Store, connect: Connect) -> None:
    claim(store, DB1)
    before = store.read(OWNER)
    assert refused(connect(), OTHER) == "s3.owner"
    assert store.read(OWNER) == before


def test_another_host_may_adopt_the_prefix(store: Store, connect: Connect) -> None:
    claim(store, DB1)
    claim(connect(), OTHER, adopt=True)
    claim(connect(), OTHER)
    assert refused(connect(), DB1) == "s3.owner"


def test_a_new_name_a_new_boot_and_an_owner_of_an_earlier_version_are_no_copies(
    store: Store, connect: Connect
) -> None:
    store.write(OWNER, b'{"v":1,"host":"id-1"}')
    claim(store, DB1)
    claim(connect(), replace(DB1, name="renamed"))
    claim(connect(), replace(DB1, name=""))


@pytest.mark.parametrize("name", [DB1, COPY])
@pytest.mark.parametrize("first", [True, False])
def test_of_two_copies_the_second_that_writes_is_refused(
    store: Store, connect: Connect, name: Host, first: bool
) -> None:
    """Whichever of both begins: until somebody says --adopt, only that one goes on."""
    claim(store, DB1)
    hosts = [(store.storage, DB1), (copied(store.storage), name)]
    (winner, its_name), (loser, other_name) = hosts if first else hosts[::-1]
    claim(Store(winner), its_name)
    before = store.read(OWNER)
    assert refused(Store(loser), other_name) == "s3.copied"
    assert store.read(OWNER) == before
    claim(Store(winner), its_name)
    claim(Store(loser), other_name, adopt=True)
    claim(Store(loser), other_name)
    assert refused(Store(winner), its_name) == "s3.copied"


def test_a_host_that_lost_its_local_state_goes_on_and_a_copy_without_it_does_not(
    store: Store, connect: Connect, tmp_path: Path
) -> None:
    claim(store, DB1)
    fresh = replace(store.storage, local_dir=tmp_path / "fresh")
    assert refused(Store(fresh), COPY) == "s3.copied"
    claim(Store(fresh), DB1)
    claim(Store(fresh), DB1)
    assert refused(connect(), DB1) == "s3.copied"


def test_a_host_that_was_set_back_goes_on_once_it_is_told(store: Store, connect: Connect) -> None:
    claim(store, DB1)
    earlier = copied(store.storage)
    claim(connect(), DB1)
    assert refused(Store(earlier), DB1) == "s3.copied"
    claim(Store(earlier), DB1, adopt=True)
    claim(Store(earlier), DB1)


def test_who_changes_no_snapshot_leaves_the_owner_as_it_is(store: Store, connect: Connect) -> None:
    claim(store, DB1)
    before = store.read(OWNER)
    claim(Store(copied(store.storage)), COPY, renew=False)
    assert store.read(OWNER) == before
    with pytest.raises(ConfigurationError):
        claim(connect(), OTHER, renew=False)


def test_the_tools_of_one_host_may_claim_at_the_same_time(store: Store, connect: Connect) -> None:
    with ThreadPoolExecutor(5) as pool:
        for _ in range(3):
            list(pool.map(lambda _: claim(connect(), DB1), range(5)))
    claim(connect(), DB1)


def test_of_copies_that_claim_at_the_same_time_one_is_left_at_the_latest_by_the_next_claim(
    store: Store,
) -> None:
    """Both have looked before either writes."""
    claim(store, DB1)
    storages = [store.storage, copied(store.storage)]
    together = Barrier(2)

    def race(storage: Storage) -> bool:
        waits = iter((together,))

        def meet(request: Request, forward: Forward) -> Answer:
            if request.method == "PUT":
                for barrier in waits:
                    barrier.wait(20)
            return forward()

        with proxy(storage.endpoint or "", meet) as endpoint:
            return goes_on(replace(storage, endpoint=endpoint))

    with ThreadPoolExecutor(2) as pool:
        passed = [
            storage
            for storage, is_in in zip(storages, pool.map(race, storages), strict=True)
            if is_in
        ]
    assert len([storage for storage in passed if goes_on(storage)]) == 1


def goes_on(storage: Storage) -> bool:
    try:
        claim(Store(storage), DB1)
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize("adopt", [False, True])
def test_a_host_that_lost_its_local_state_meets_an_outage_and_goes_on(
    store: Store, adopt: bool
) -> None:
    claim(store, DB1)
    if adopt:
        (store.storage.local_dir / "owner").rename(store.storage.local_dir / "set-back")
        claim(Store(store.storage), DB1)
    shutil.rmtree(store.storage.local_dir / "owner")
    if adopt:
        (store.storage.local_dir / "set-back").rename(store.storage.local_dir / "owner")

    def away(request: Request, forward: Forward) -> Answer:
        return refusal(503, "ServiceUnavailable") if request.method == "PUT" else forward()

    with proxy(store.storage.endpoint or "", away) as endpoint, pytest.raises(UnreachableError):
        claim(Store(replace(store.storage, endpoint=endpoint)), DB1, adopt=adopt)
    for _ in range(2):
        claim(Store(store.storage), DB1)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_claim_whose_answer_was_lost_is_no_false_alarm(store: Store, arrives: bool) -> None:
    claim(store, DB1)

    def lose(request: Request, forward: Forward) -> Answer:
        if request.method != "PUT":
            return forward()
        if arrives:
            forward()
        return refusal(503, "ServiceUnavailable")

    with proxy(store.storage.endpoint or "", lose) as endpoint:
        cut_off = Store(replace(store.storage, endpoint=endpoint))
        with pytest.raises(UnreachableError):
            claim(cut_off, DB1)
    claim(Store(store.storage), DB1)


def test_where_nothing_can_be_noted_nothing_is_written(store: Store) -> None:
    (store.storage.local_dir / "owner").write_text("in the way")
    with pytest.raises(BackupError, match=r"owner/.* cannot be written"):
        claim(store, DB1)
    assert read(store) is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"v":1}', b'"x"'])
def test_an_owner_that_cannot_be_read_is_refused(store: Store, body: bytes) -> None:
    store.write(OWNER, body)
    with pytest.raises(BackupError, match="does not name a host"):
        claim(store, DB1)


def test_a_server_without_conditions_is_written_to_all_the_same(store: Store) -> None:
    def refuse(request: Request, forward: Forward) -> Answer:
        conditions = {"if-match", "if-none-match"} & {name.lower() for name in request.headers}
        return refusal(501, "NotImplemented") if conditions else forward()

    with proxy(store.storage.endpoint or "", refuse) as endpoint:
        storage = replace(store.storage, endpoint=endpoint)
        for _ in range(2):
            claim(Store(storage), DB1)
    owner = read(store)
    assert owner is not None
    assert owner.host == DB1
