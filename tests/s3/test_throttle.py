"""Transfers keep to the limit, all threads of a process together, and what arrives is the same."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy, refusal
from three_backup.host import signals
from three_backup.model.bandwidth import Bandwidth
from three_backup.s3 import throttle
from three_backup.s3.store import Store
from three_backup.s3.throttle import Throttle

from .conftest import Connect
from .files import PART, fetch, send

MB = 1_000_000
LIMIT = 8 * MB


class Time:
    """A clock that only goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_throttles", list(throttle._throttles))
    throttle.configure(Bandwidth.parse("8 MB/s"), lambda: datetime.now(UTC), UTC)


def test_as_many_bytes_go_as_the_limit_lets() -> None:
    clock = Time()
    bucket = Throttle(lambda: MB, lambda: clock.now, clock.sleep)
    for _ in range(1000):
        bucket.take(16_384)
    assert clock.now == pytest.approx(16.384, abs=0.2)


def test_what_was_not_used_for_long_does_not_go_at_once() -> None:
    clock = Time()
    bucket = Throttle(lambda: MB, lambda: clock.now, clock.sleep)
    clock.sleep(3600)
    bucket.take(2 * MB)
    assert clock.now == pytest.approx(3602, abs=0.2)


def test_the_limit_may_begin_and_end_amid_a_transfer() -> None:
    clock = Time()
    bucket = Throttle(lambda: MB if 1 <= clock.now < 2 else None, lambda: clock.now, clock.sleep)
    bucket.take(1000 * MB)
    assert clock.now == 0
    clock.sleep(1)
    for _ in range(200):
        bucket.take(10_000)
    assert clock.now == pytest.approx(2, abs=0.1)


def test_threads_share_the_limit() -> None:
    bucket = Throttle(lambda: 4 * MB)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bucket.take, [20_000] * 100))
    assert 0.3 < time.monotonic() - started < 3


def test_nothing_waits_once_the_tool_was_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    told, bucket = threading.Event(), Throttle(lambda: 1000)
    monkeypatch.setattr(signals, "_event", told)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(bucket.take, 60_000) for _ in range(4)]
        assert not wait(waiting, 0.2).done
        told.set()
        assert not wait(waiting, 20).not_done


@pytest.mark.usefixtures("limited")
def test_a_file_goes_and_comes_at_the_limit(store: Store, content: bytes, journal: Path) -> None:
    size = 3 * PART
    started = time.monotonic()
    uploaded = send(store, io.BytesIO(content[:size]), journal, size)
    sent = time.monotonic()
    assert fetch(store, uploaded) == content[:size]
    fetched = time.monotonic()
    assert sent - started > 0.8 * size / LIMIT
    assert fetched - sent > 0.8 * size / LIMIT


@pytest.mark.usefixtures("limited")
def test_a_part_that_was_refused_is_sent_again_as_a_whole(
    store: Store, connect: Connect, content: bytes, journal: Path
) -> None:
    refused: list[str] = []

    def refuse(request: Request, forward: Forward) -> Answer:
        if request.is_("PUT") and not refused:
            refused.append(request.path)
            return refusal(503, "SlowDown")
        return forward()

    with proxy(str(store.storage.endpoint), refuse) as endpoint:
        uploaded = send(connect(endpoint=endpoint), io.BytesIO(content[:PART]), journal, PART)
    assert refused
    assert fetch(store, uploaded) == content[:PART]
