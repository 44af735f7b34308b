"""A configuration that lies outside of the data directory comes back with the cluster."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.forked import Forked
from three_backup.demo.daemon import unprivileged_account
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

from .living import Living, living
from .taking import ask, run
from .test_whole_cluster import Rebuilt

_NAMES = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")


class Debian(PostgresServer):
    """A server whose configuration lies in a folder of its own, as on Debian."""

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    def start(self) -> None:
        if not self.pgdata.exists():
            super().start()
            self.stop()
            self._move_configuration()
        configured = f"config_file={self.etc}/postgresql.conf"
        argv = (self.bindir / "postgres", "-D", self.pgdata, "-c", configured)
        self._daemon.start(argv, self._own_environ, self._is_ready)

    def _move_configuration(self) -> None:
        (self.etc / "conf.d").mkdir(parents=True)
        for name in _NAMES:
            (self.pgdata / name).rename(self.etc / name)
        (self.etc / "conf.d" / "more.conf").write_text("work_mem = 7MB\n")
        with (self.etc / "postgresql.conf").open("a") as configuration:
            configuration.write(f"data_directory = '{self.pgdata}'\n")
            configuration.write(f"hba_file = '{self.etc}/pg_hba.conf'\n")
            configuration.write(f"ident_file = '{self.etc}/pg_ident.conf'\n")
            configuration.write("include_dir = 'conf.d'\nlog_line_prefix = 'it''s \\\\ %p '\n")
        for path in (self.etc, *self.etc.rglob("*")):
            unprivileged_account().own(path)


@pytest.fixture(scope="module")
def debian(server_folder: Path) -> Iterator[Debian]:
    with Debian(server_folder / "debian") as server:
        run(server, "postgres", "create role humble login replication", "create table t ()")
        yield server
    shutil.rmtree(server.folder)


@pytest.fixture
def host(
    debian: Debian, server_folder: Path, seaweed: SeaweedServer, tools: Forked
) -> Iterator[Living]:
    with living(server_folder, debian, seaweed, tools) as host:
        yield host
    shutil.rmtree(host.folder)


def rebuilt(host: Living) -> Rebuilt:
    back = Rebuilt(host, host.folder / "rebuilt")
    back.folder.mkdir(mode=0o711)
    back.outcome = host.sh(f"tb-restore --pgdata {back.pgdata} 'postgres/*'")
    assert back.restored["target"] == str(back.pgdata)
    assert back.verified()
    return back


def test_a_saved_configuration_is_in_force_but_names_no_place_of_the_old_server(
    debian: Debian, host: Living
) -> None:
    host.good("tb-discover | tb-snapshot --base")
    back = rebuilt(host)
    assert "its configuration lay outside of the data directory and is inside" in (
        back.outcome.stderr
    )
    assert "made anew" not in back.outcome.stderr
    for name in _NAMES[1:]:
        assert (back.pgdata / name).read_text() == (debian.etc / name).read_text()
    with back.running() as server:
        for name, value in (("work_mem", "7MB"), ("log_line_prefix", "it's \\ %p ")):
            assert ask(server, "postgres", f"show {name}") == value
        for name in ("data_directory", "hba_file", "ident_file", "config_file"):
            assert ask(server, "postgres", f"show {name}").startswith(str(back.pgdata))


def test_a_configuration_that_could_not_be_read_is_made_anew_of_what_was_in_force(
    host: Living,
) -> None:
    host.environ["PGUSER"] = "humble"
    host.good("tb-discover | tb-snapshot --base")
    back = rebuilt(host)
    assert "made anew, since it was not readable for the snapshot: pg_hba.conf" in (
        back.outcome.stderr
    )
    assert "work_mem = '7MB'" in (back.pgdata / "postgresql.conf").read_text()
    assert "local all all peer" in (back.pgdata / "pg_hba.conf").read_text()
    with back.running() as server:
        assert server.pid


def test_a_check_names_the_grants_with_which_a_role_saves_all_of_it(
    debian: Debian, host: Living
) -> None:
    host.environ.update(PGUSER="wary", PGPASSWORD="secret", PGHOST="127.0.0.1")
    run(debian, "postgres", "create role wary login replication password 'secret'")

    def found() -> tuple[str, str]:
        records = host.sh("tb-check --json -s postgres").records
        (finding,) = (record["finding"] for record in records if "configuration" in str(record))
        return finding["mark"], finding.get("remedy", "")

    mark, remedy = found()
    assert (mark, 'GRANT pg_read_all_settings TO "wary"' in remedy) == ("note", True)
    run(debian, "postgres", "grant pg_read_all_settings to wary")
    mark, remedy = found()
    assert mark == "note"
    grants = remedy.removeprefix("run ").partition(", in the database")[0]
    run(debian, "postgres", *grants.split("; "))
    assert found() == ("good", "")
    host.good("tb-discover | tb-snapshot --base")
    assert "made anew" not in rebuilt(host).outcome.stderr
