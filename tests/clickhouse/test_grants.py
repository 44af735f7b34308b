"""The grants that the manual page lists suffice, each for the purpose it is listed for."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model.findings import Mark
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse.prepare import prepare

from .taking import Taking, table, view
from .test_backup import make

PAGE = Path("man/three_backup-clickhouse.7")
USERS = """\
<clickhouse>
  <profiles><default>{}</default></profiles><quotas><default/></quotas>
  <users>
    <default>
      <password></password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>{}
    </default>
    <owner>
      <password></password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
    </owner>
  </users>
</clickhouse>
"""
# Nothing of it changes what the tools read.
PROFILE = (
    "<limit>2</limit><max_result_rows>3</max_result_rows>"
    "<join_use_nulls>1</join_use_nulls><final>1</final>"
    "<output_format_json_array_of_rows>1</output_format_json_array_of_rows>"
    "<prefer_column_name_to_alias>1</prefer_column_name_to_alias>"
    "<empty_result_for_aggregation_by_empty_set>1</empty_result_for_aggregation_by_empty_set>"
)
CONFIGURATION = (
    "<clickhouse><user_directories><users_xml><path>{}</path></users_xml></user_directories>"
)


class Restricted:
    """A server whose default user may do everything, or only what `grant` grants."""

    def __init__(self, folder: Path) -> None:
        self.server = ClickhouseServer(folder)
        self._users = folder / "users.xml"
        configuration = folder / "config.xml"
        text = configuration.read_text()
        configuration.write_text(text.replace("<clickhouse>", CONFIGURATION.format(self._users)))

    def grant(self, *grants: str) -> None:
        """Restart the server with these grants; without any, the user may do everything."""
        self.server.stop()
        queries = "".join(f"<query>{escape(grant)}</query>" for grant in grants)
        granted = f"<grants>{queries}</grants>" if grants else ""
        self._users.write_text(USERS.format(PROFILE, granted))
        self.server.start()


@pytest.fixture(scope="module")
def restricted(server_folder: Path) -> Iterator[Restricted]:
    restricted = Restricted(server_folder / "ch-restricted")
    with_all = restricted.server
    restricted.grant()
    with_all.execute("CREATE DATABASE shop")
    make(with_all, "shop", 100)
    with_all.execute("CREATE VIEW shop.words AS SELECT word FROM shop.hits")
    with_all.execute(
        "CREATE MATERIALIZED VIEW shop.seen ENGINE MergeTree ORDER BY id AS "
        "SELECT id FROM shop.hits"
    )
    with_all.execute(
        "CREATE MATERIALIZED VIEW shop.owned ENGINE MergeTree ORDER BY id "
        "DEFINER = owner SQL SECURITY DEFINER AS SELECT id FROM shop.hits"
    )
    with_all.execute(
        "CREATE TABLE shop.updated (id UInt32, v UInt32) ENGINE MergeTree ORDER BY id "
        "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1"
    )
    with_all.execute("INSERT INTO shop.updated SELECT number, 0 FROM numbers(10)")
    with_all.execute("UPDATE shop.updated SET v = 7 WHERE id < 5")
    with_all.execute(
        "CREATE DICTIONARY shop.lookup (id UInt64, word String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(DB 'shop' TABLE 'hits')) LIFETIME(0) LAYOUT(FLAT())"
    )
    yield restricted
    with_all.stop()


@pytest.fixture
def taking(restricted: Restricted, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Taking:
    for name, value in restricted.server.environ.items():
        monkeypatch.setenv(name, value)
    return Taking(restricted.server, storage)


def granted(user: str) -> list[str]:
    """Return the grants that the page lists for the user, on servers 25.7 and newer."""
    newer = re.compile(r"-- 25\.7 and newer: (GRANT .*)")
    text = newer.sub(rf"\n\1 TO {user};", PAGE.read_text())
    statements = re.findall(rf"^(GRANT [^;]*?)\s+TO {user};", text, re.MULTILINE)
    assert len(statements) > 3
    return [" ".join(grant.split()) for grant in statements if grant != "GRANT S3 ON *.*"]


OBJECTS = [
    table("shop", "hits"),
    table("shop", "lookup"),
    view("shop", "words"),
    view("shop", "seen"),
]


def test_the_page_grants_what_backups_and_restores_and_drills_need(
    restricted: Restricted, taking: Taking
) -> None:
    restricted.grant(*granted("backup"))
    for object_id in OBJECTS:
        taking.chain(object_id, "SELECT 1")
    restricted.grant(*granted("restore"))
    for object_id in OBJECTS:
        taking.restore(object_id, overwrite=True)
        taking.restore(object_id, level2="another")
    assert taking.drill(OBJECTS[0]).facts["rows"] == 100
    restricted.grant(*granted("verify"))
    assert taking.drill(OBJECTS[0]).facts["rows"] == 100
    with pytest.raises(BackupError) as refused:
        taking.restore(OBJECTS[0], level3="again")
    assert refused.value.code == "clickhouse.denied"


def test_lightweight_updates_are_merged_with_the_grant_that_the_page_lists(
    restricted: Restricted, taking: Taking
) -> None:
    grants = granted("backup")
    restricted.grant(*(grant for grant in grants if "ALTER UPDATE" not in grant))
    with pytest.raises(BackupError, match="1 lightweight update would not be") as error:
        taking.take(table("shop", "updated"))
    assert error.value.code == "clickhouse.patches"
    assert "GRANT ALTER UPDATE" in error.value.hint
    restricted.grant(*grants)
    taking.take(table("shop", "updated"))


def test_a_view_with_a_definer_needs_a_grant_of_its_own(
    restricted: Restricted, taking: Taking
) -> None:
    owned, definer = view("shop", "owned"), "GRANT SET DEFINER ON *"
    assert definer in PAGE.read_text()
    restricted.grant()
    taking.take(owned)
    restricted.grant(*granted("restore"))
    with pytest.raises(BackupError, match="SET DEFINER"):
        taking.restore(owned, level3="owned_2")
    restricted.grant(*granted("restore"), definer)
    taking.restore(owned, level3="owned_2")


def test_what_is_not_granted_is_said_with_the_page_that_lists_it(
    restricted: Restricted, taking: Taking
) -> None:
    restricted.grant(*granted("backup"))
    taking.take(OBJECTS[0])
    with pytest.raises(BackupError) as refused:
        taking.drill(OBJECTS[0])
    assert refused.value.code == "clickhouse.denied"
    assert "GRANT CREATE DATABASE ON three_backup_drill_" in refused.value.hint
    assert "three_backup-clickhouse(7)" in refused.value.hint


def test_what_a_user_lacks_for_backups_is_found_before_the_first_one(
    restricted: Restricted, taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    restricted.grant("GRANT SHOW ON *.*", "GRANT SELECT ON system.*")
    found = prepare(os.environ)
    assert found.found.mark is Mark.NOTE
    lacking = [re.sub(r" TO .*;", "", statement) for statement in found.statements]
    assert lacking == [
        "GRANT SHOW, BACKUP ON *.*",
        "GRANT ALTER UPDATE ON *.*",
        "GRANT READ, WRITE ON S3",
    ]
    restricted.grant("GRANT SELECT ON system.*", *lacking)
    assert prepare(os.environ).statements == ()
    taking.take(OBJECTS[0])
    monkeypatch.delenv("CLICKHOUSE_PASSWORD")
    monkeypatch.delenv("CLICKHOUSE_USER")
    proposed = prepare(os.environ)
    password = proposed.variables["CLICKHOUSE_PASSWORD"]
    digest = hashlib.sha256(password.encode()).hexdigest()
    assert f"'{digest}'" in proposed.statements[1]
    assert password not in " ".join(proposed.statements)
    assert set(granted("backup")) >= {grant.split(" TO ")[0] for grant in proposed.statements[2:]}
    restricted.server.stop()
    assert not prepare(os.environ).answers
