"""README and three_backup-recovery(7), typed word by word by root on a fresh Debian.

Its PostgreSQL is the one of the distribution, with the pg_hba.conf that comes with it.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.debian import Debian, debian, obstacle
from tests.pipeline.test_recovery_page import SHOP, commands
from three_backup.demo.seaweed import SeaweedServer

_ROOT = Path(__file__).parents[2]
_README = (_ROOT / "README.md").read_text()
_CHECKOUT = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "bin", "three_backup", "man")
_FILES = ("three_backup.yaml", ".env", ".env.restore")
_BLOCK = re.compile(r"(?:^ {4}.*\n|^\n(?= {4}))+", re.MULTILINE)
_ORDERS = "select count(*), sum(length(note)), md5(string_agg(note, ',' order by id)) from orders"


class Fresh:
    """The host, and what its administrator reads."""

    def __init__(self, host: Debian) -> None:
        self.host = host

    def sql(self, statement: str, database: str = "shop") -> str:
        return self.host.good(f'runuser -u postgres -- psql {database} -qAtc "{statement}"')

    def orders(self) -> str:
        return self.sql(_ORDERS)

    def type(self, block: str) -> str:
        """Type an indented block of the README; every line must succeed. git has been there."""
        typed = re.sub(r"^git (clone .*|pull && )", "", block, flags=re.MULTILINE)
        return self.host.good(f"set -e\n{typed}")

    def follow(self, section: str) -> None:
        """Type the commands of a section of the page; each must succeed."""
        for command in commands(section):
            self.host.good(command)

    def configure(self, seaweed: SeaweedServer) -> None:
        given = {
            "s3.example.com": seaweed.endpoint,
            "s3_bucket: backups": "s3_bucket: fresh",
            "AKIA...": seaweed.access_key,
            "s3_secret_key: ...": f"s3_secret_key: {seaweed.secret_key}",
        }
        for name, text in zip(_FILES, _blocks("Configure"), strict=True):
            for placeholder, value in given.items():
                text = text.replace(placeholder, value)
            path = self.host.root / "etc" / name
            path.write_text(text)
            path.chmod(0o600)


def _blocks(heading: str) -> list[str]:
    """Return the indented blocks below a heading of the README, without their indents."""
    section = _README.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in _BLOCK.findall(section)]


@pytest.fixture(scope="module")
def fresh(server_folder: Path, seaweed: SeaweedServer) -> Iterator[Fresh]:
    """A host on which PostgreSQL runs, with a database, and three_backup as the README says."""
    if why := obstacle():
        pytest.skip(why)
    seaweed.create_bucket("fresh")
    folder = server_folder / "debian"
    folder.mkdir()
    with debian(folder) as host:
        host.good("pg_ctlcluster 17 main start")
        fresh = Fresh(host)
        fresh.sql("create database shop", "postgres")
        fresh.sql(SHOP)
        _check_out(host.root / "root/three_backup")
        fresh.type(_blocks("Install")[0])
        fresh.type(_blocks("Prepare PostgreSQL")[0])
        fresh.configure(seaweed)
        yield fresh
    seaweed.delete_bucket("fresh")


def _check_out(folder: Path) -> None:
    """Copy what `git clone` gives."""
    folder.mkdir()
    for name in _CHECKOUT:
        if (_ROOT / name).is_dir():
            shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy(_ROOT / name, folder / name)


def test_the_readme_leads_to_a_backup_that_is_proved(fresh: Fresh) -> None:
    said = fresh.type(_blocks("Run")[0])
    assert not re.search(r"^  (bad |note)  (?!TLS|stolen keys|encryption)", said, re.MULTILINE), (
        said
    )
    assert "local, s3" in said
    assert '"how":"restored"' in said
    assert fresh.host.good("man -w tb-run").endswith("/tb-run.1\n")


def test_the_readme_leads_to_a_table_that_is_back(fresh: Fresh) -> None:
    before = fresh.orders()
    fresh.host.good("tb-run")
    fresh.sql("drop table orders cascade")
    section = _README.split("\n## Bring something back\n", 1)[1]
    fresh.host.good(_BLOCK.findall(section)[0].split("\n")[1])
    assert fresh.orders() == before
    fresh.host.good("tb-restore postgres/view/shop/public/totals")


def test_installing_twice_upgrading_and_removing_work(fresh: Fresh) -> None:
    upgrade, remove = _blocks("Upgrade, remove")
    fresh.type(f"cd three_backup\n{upgrade}")
    fresh.host.good("tb-run")
    fresh.type(remove)
    assert fresh.host.good("find / -xdev -name '*tb-*' -not -path '/root/*'") == ""
    fresh.type(_blocks("Install")[0])
    fresh.type(_blocks("Install")[0])
    assert fresh.host.good("tb-run --version").startswith("tb-run ")


def test_the_page_makes_the_role_that_restores(fresh: Fresh) -> None:
    fresh.sql("drop role restore")
    (fresh.host.root / "etc/.env.restore").unlink()
    fresh.follow("FIRST")
    before = fresh.orders()
    fresh.host.good("tb-run")
    fresh.sql("drop table orders cascade")
    fresh.follow("A table was dropped, or emptied")
    assert fresh.orders() == before


def test_a_bad_update(fresh: Fresh) -> None:
    before = fresh.orders()
    fresh.host.good("tb-run")
    fresh.sql("update orders set note = 'oops' where id < 100; delete from orders where id > 9")
    fresh.follow("A bad UPDATE or DELETE")
    assert fresh.orders() == before


def test_a_dropped_database(fresh: Fresh) -> None:
    before = fresh.orders()
    fresh.host.good("tb-run")
    fresh.sql("drop database shop with (force)", "postgres")
    fresh.follow("A database was dropped")
    assert fresh.orders() == before


def test_a_lost_server(fresh: Fresh) -> None:
    before = fresh.orders()
    fresh.host.good("tb-run")
    fresh.follow("The server is lost")
    assert fresh.orders() == before
    assert "scram-sha-256" in fresh.sql("select auth_method from pg_hba_file_rules", "postgres")
