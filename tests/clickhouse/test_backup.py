"""Snapshots that the server writes to S3: complete, checked, and incremental where they say so."""

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model.snapshots import Kind
from three_backup.sources.base import ParentUnusableError
from three_backup.sources.clickhouse import stored

from .taking import Taking, rows, table

ROWS = "SELECT number AS id, toString(cityHash64(number)) AS word FROM numbers({})"


def make(server: ClickhouseServer, database: str, count: int = 20000) -> None:
    server.execute(
        f"CREATE TABLE {database}.hits ENGINE MergeTree ORDER BY id AS {ROWS.format(count)}"
    )


def insert(database: str, count: int) -> str:
    return f"INSERT INTO {database}.hits {ROWS.format(count)}"


def test_a_base_holds_all_and_an_incremental_what_changed(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    base, changed, empty = taking.chain(table(database, "hits"), insert(database, 100), "SELECT 1")
    assert base.snapshot.kind is Kind.BASE
    assert base.stored_size > 100_000
    assert changed.stored_size < base.stored_size / 10
    assert changed.facts["base_uuid"] == base.facts["uuid"]
    assert empty.facts["base_uuid"] == changed.facts["uuid"]
    assert empty.facts["chain"][-1]["keys"] == 1
    assert [len(taken.facts["chain"]) for taken in (base, changed, empty)] == [1, 2, 3]
    assert taking.moved >= base.stored_size


def test_the_manifest_says_what_lies_in_s3(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    manifest = taking.take(table(database, "hits"))
    (link,) = manifest.facts["chain"]
    below = f"data/clickhouse/table/default/{database}/hits/{link['folder']}/"
    keys = taking.stored_keys(below)
    assert len(keys) == link["keys"] > 5
    assert taking.stored_keys() == keys
    assert f"{below}.backup" in keys
    assert f"{below}.lock" not in keys
    assert manifest.source_size > 0
    assert manifest.objects[0].facts == {"kind": "table", "engine": "MergeTree"}
    assert taking.journals(table(database, "hits")).exists()
    assert not list(taking.journals(table(database, "hits")).iterdir())


@pytest.mark.parametrize("name", ["it's `odd`", "три/backup", "a.b-c d%20", 'new\nline\t"'])
def test_odd_names_are_backed_up_and_restored(
    live: ClickhouseServer, database: str, taking: Taking, name: str
) -> None:
    quoted = name.replace("`", "``")
    live.execute(
        f"CREATE TABLE {database}.`{quoted}` (id UInt64, `столбец.1` String) "
        "ENGINE MergeTree ORDER BY id SETTINGS min_bytes_for_wide_part = 0"
    )
    live.execute(f"INSERT INTO {database}.`{quoted}` {ROWS.format(100)}")
    object_id = table(database, name)
    before = rows(live, object_id)
    taking.chain(object_id, f"INSERT INTO {database}.`{quoted}` {ROWS.format(5)}")
    assert all("%" in key for key in taking.stored_keys() if "/data/" in key.removeprefix("data/"))
    taking.restore(object_id, last=0, level2=f"{database}_copy")
    assert rows(live, table(f"{database}_copy", name)) == before


def test_no_increment_follows_a_snapshot_of_which_a_key_is_gone(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    base, second = taking.chain(table(database, "hits"), insert(database, 10))
    (victim,) = [
        key for key in taking.stored_keys() if str(base.snapshot) in key and "data.bin" in key
    ]
    taking.store.delete([victim])
    with pytest.raises(ParentUnusableError, match=r"keys with \d+ bytes in S3 and had"):
        taking.take(table(database, "hits"), second)


def test_what_the_server_left_out_is_noticed(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    make(live, database)
    manifest = taking.take(table(database, "hits"))
    (folder,) = {
        key.rpartition("/.backup")[0] for key in taking.stored_keys() if "/.backup" in key
    }
    (victim,) = [key for key in taking.stored_keys() if "data.bin" in key]
    taking.store.write(victim, b"short")
    with pytest.raises(BackupError, match=r"are not in S3 as it says, data/.*data.bin first"):
        stored.verified(taking.store, folder, manifest.carrier)


def test_a_table_that_is_gone_is_said_and_nothing_is_left(
    live: ClickhouseServer, database: str, taking: Taking
) -> None:
    with pytest.raises(BackupError, match="there is no such table"):
        taking.take(table(database, "never"))
    assert taking.stored_keys() == []
    assert not list(taking.journals(table(database, "never")).iterdir())
