"""ClickHouse is waited for as long as it is at work, and no longer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from three_backup.errors import SilentError
from three_backup.sources.clickhouse.client import connect

Patience = Callable[[float], None]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.usefixtures("live")
def test_a_statement_that_only_waits_is_given_up(patience: Patience) -> None:
    patience(0.8)
    with within(9), pytest.raises(SilentError) as given_up:
        connect("clickhouse/table/default/shop/hits").ask("SELECT sleep(2.9)")
    assert str(given_up.value).startswith(
        "clickhouse/table/default/shop/hits: clickhouse-client showed no sign of life for "
    )


@pytest.mark.usefixtures("live")
def test_a_statement_that_reads_rows_is_not_silent(patience: Patience) -> None:
    patience(1.5)
    slow = "SELECT count() FROM numbers(6) WHERE NOT sleepEachRow(0.5) SETTINGS max_block_size = 1"
    assert connect("shop").ask(slow)
