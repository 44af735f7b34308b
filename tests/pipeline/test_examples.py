"""Every example command of the pages works as printed."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.house.test_pages import PAGES, section
from tests.pipeline.conftest import Host
from tests.pipeline.test_copy import with_vault
from three_backup.demo.clickhouse import ClickhouseServer

# Tested elsewhere: the demo, which takes minutes, what needs containers, restores of clusters,
# settings of PostgreSQL.
_LEFT_OUT = re.compile(r"^tb-demo|^tb-init$|lxd/container|^tb-restore .*--pgdata|^\w+_command = ")
_SLOTS = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
_CRONTAB = re.compile(r"(?:[\d*/]+ ){5}/usr/local/bin/")
_ELSEWHERE = re.compile(r"/var/www/html|/var/lib/prometheus/node-exporter")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")


def _examples() -> list[str]:
    """Return the example command lines of all pages as mandoc prints them, without duplicates."""
    texts = [page.read_text() for page in PAGES if "\n.Sh EXAMPLES\n" in page.read_text()]
    found = [section(text, "EXAMPLES") for text in texts]
    lines = [line for text in found for line in re.findall(r"^\.Dl (.*)$", text, re.MULTILINE)]
    shown = [line.replace(r"\(dq", '"').replace(r"\e", "\\") for line in lines]
    return list(dict.fromkeys(line for line in shown if not _LEFT_OUT.search(line)))


@pytest.fixture(scope="module")
def shop(host_of_module: Host, clickhouse: ClickhouseServer) -> Iterator[Host]:
    """A host with the databases that the pages name, all backed up."""
    host = host_of_module.real  # the pages' commands run as if typed
    path = f"{clickhouse.bindir}:{host.environ['PATH']}"
    host.environ.update({**clickhouse.environ, "PATH": path})
    for database in ("shop", "prod"):
        host.execute(f"create database {database}")
        host.execute("create table orders as select 1 as id", database)
    host.execute("create view totals as select 1 as total", "shop")
    clickhouse.execute("create database shop")
    clickhouse.execute("create table shop.hits engine MergeTree order by id as select 1 as id")
    (host.folder / "mask.sql").write_text("UPDATE orders SET id = -id")
    host.s3.create_bucket("examples-vault")
    with_vault(host, "examples-vault", wal="pull")
    host.good("tb-run")
    host.good("tb-copy --to vault '*'")
    _back_up_another_host(host)
    yield host
    host.s3.delete_bucket("examples-vault")
    host.rows(f"{_SLOTS} WHERE slot_name LIKE 'three_backup%'")
    for database in ("shop", "prod", "shop_copy", "lost"):
        host.execute(f"drop database if exists {database} with (force)")
    clickhouse.execute("drop database shop sync")


def _back_up_another_host(host: Host) -> None:
    """Store snapshots of another host, db1, whose database `lost` exists no more."""
    host.execute("create database lost")
    host.execute("create table orders as select 2 as id", "lost")
    disabled = "".join(f"- postgres/*/{name}/*:\n    disable: true\n" for name in ("shop", "prod"))
    host.configure(disabled, s3_prefix="db1", local_dir=host.folder / "db1")  # without WAL
    host.good("tb-run -s postgres")
    host.execute("drop database lost")
    with_vault(host, "examples-vault", wal="pull")


@pytest.mark.parametrize("example", _examples())
def test_an_example_of_a_page_works_as_it_is_printed(shop: Host, example: str) -> None:
    if shutil.which("jq") is None and "jq" in example:
        pytest.skip("jq is missing (apt-get install jq)")
    if "< saved.ndjson" in example:
        shop.good("tb-discover | tb-plan > saved.ndjson")
    if example.startswith(("tb-restore postgres", "tb-restore --store")):
        shop.execute("drop table orders", "shop")
    if "--before-drop" in example:
        dropped = "view totals" if example.endswith("/totals") else "table orders"
        shop.execute(f"drop {dropped}", "shop")
        shop.good("tb-wal pull")
    shop.execute("drop database if exists shop_copy with (force)")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    line = _ELSEWHERE.sub(str(shop.folder), _CRONTAB.sub("", example, count=1))
    line = line.replace("tb-open --for 2h", "tb-open --for 1s")
    outcome = shop.sh(_DATE.sub(f"{tomorrow:%Y-%m-%d}", line))
    assert outcome.status == 0, outcome.stderr
    if example.startswith("tb-restore"):
        field = "would_restore" if "--dry-run" in example else "restored"
        assert outcome.records
        assert all(field in record for record in outcome.records)
        assert shop.rows("select id from orders", "shop") == [(1,)]


def test_the_examples_of_the_pages_are_found() -> None:
    first_words = {example.split()[0] for example in _examples()}
    assert {"tb-discover", "tb-restore", "tb-run", "17"} <= first_words
