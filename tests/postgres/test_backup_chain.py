"""The plan says why no incremental can follow, from the records alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from three_backup.config.settings import Settings
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject, Manifest, SnapshotId
from three_backup.sources.postgres.preflight import SUMMARIZE
from three_backup.sources.postgres.source import PostgresSource
from three_backup.sources.postgres.wal.names import position

from .taking import DISABLED, EVERYWHERE, LOCAL, table

_USERS, _NEW = table("db", "users"), table("db", "new")
_LIVE = {
    "id": str(_USERS),
    "system_identifier": "7711",
    "timeline": 1,
    "lsn": "1/0",
    "in_recovery": False,
    "summarize_wal": True,
    "server": "PostgreSQL 17.10",
}
_NEWEST = Manifest(
    carrier=Carrier("postgres/cluster/7711"),
    snapshot=SnapshotId(datetime(2026, 11, 1, tzinfo=UTC)),
    objects=(),
    files=(),
    source_size=0,
    stored_size=0,
    facts={"system_identifier": "7711", "timeline": 1, "end_lsn": "0/FFFFFFFF", "disabled": []},
    program="three_backup",
    server="PostgreSQL 17.9",
    host="here",
)


def test_a_server_that_went_on_has_a_whole_chain() -> None:
    assert _broken({}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"system_identifier": "8822"}, "the system identifier is 8822 now"),
        ({"timeline": 2}, "the server switched from timeline 1 to 2"),
        ({"lsn": "0/FFFFFFFE"}, "the server was set back to 0/FFFFFFFE, before the snapshot"),
        ({"lsn": "0/FFFFFFFE", "in_recovery": True}, None),
        (
            {"server": "PostgreSQL 18.0"},
            "the snapshot is of PostgreSQL 17.9, the server is PostgreSQL 18.0",
        ),
        (
            {"summarize_wal": False},
            f"summarize_wal is off, without which there are only bases ({SUMMARIZE})",
        ),
    ],
)
def test_the_state_of_the_server_breaks_a_chain(
    change: Mapping[str, Any], reason: str | None
) -> None:
    assert _broken(change) == reason


@pytest.mark.parametrize(
    ("before", "now", "is_broken"),
    [
        ("s3", EVERYWHERE, False),
        ("s3", LOCAL, False),
        ("s3", DISABLED, False),
        ("local", LOCAL, False),
        ("local", EVERYWHERE, True),
        ("local", DISABLED, False),
        ("disabled", DISABLED, False),
        ("disabled", LOCAL, True),
        ("disabled", EVERYWHERE, True),
    ],
)
def test_a_class_that_rose_breaks_a_chain(before: str, now: Settings, is_broken: bool) -> None:
    if before == "disabled":
        newest = replace(_NEWEST, facts={**_NEWEST.facts, "disabled": [str(_USERS)]})
    else:
        newest = replace(_NEWEST, objects=(CarriedObject(_USERS, 0, {"class": before}),))
    reason = f"{_USERS} is to be kept farther away than in the newest snapshot"
    assert _broken({}, newest, _USERS, now) == (reason if is_broken else None)


def test_a_new_table_breaks_no_chain() -> None:
    assert _broken({}, _NEWEST, _NEW) is None


def test_positions_count_across_the_slash() -> None:
    assert position("0/FFFFFFFF") + 1 == position("1/0")


def _broken(
    change: Mapping[str, Any],
    newest: Manifest = _NEWEST,
    object_id: ObjectId = _USERS,
    settings: Settings = EVERYWHERE,
) -> str | None:
    record = {**_LIVE, **change, "id": str(object_id)}
    return PostgresSource().broken_chain([(record, settings)], newest)
