"""The package for Debian, as apt installs, upgrades, removes and purges it on a fresh host."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.lab.debian import Debian, debian, obstacle
from tests.packaging.test_packaging_files import ROOT
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_BUILD = ROOT / "three_backup" / "packaging" / "build-deb"
_POISON = "raise ImportError('of the other version')\n"
_CONFIGURATION = """\
- "*":
    s3_endpoint: {endpoint}
    s3_bucket: {bucket}
    s3_access_key: {access_key}
    s3_secret_key: {secret_key}
"""
_ENVIRONMENT = """\
PGHOST=127.0.0.1
PGPORT={port}
PGUSER=postgres
PGPASSWORD={password}
"""
_HOOK = "    on_start: sh -c 'touch /root/begun; until [ -e /root/go ]; do sleep 0.1; done'\n"
_KEPT = ("/etc/three_backup.yaml", "/etc/.env", "/var/lib/three_backup/postgres")
_ITEMS = "create table items as select n, repeat('x', 99) from generate_series(1, 999) n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built out of this checkout."""
    if missing := [program for program in ("dh", "dpkg-deb") if shutil.which(program) is None]:
        pytest.skip(f"{missing[0]} is missing (apt-get install debhelper)")
    folder = tmp_path_factory.mktemp("deb")
    return _built(folder)


@pytest.fixture(scope="module")
def next_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a later version, none of whose modules suits the version before."""
    folder = tmp_path_factory.mktemp("next") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: ).*", r"\g<1>999-1", control.read_text(), flags=re.M))
    code = folder / "usr/share/three_backup/code/three_backup"
    for module in code.rglob("*.py"):
        module.write_text(_POISON)
    (code / "__init__.py").write_text('__version__ = "999"\n')
    (code / "tools/__init__.py").write_text("")
    (code / "tools/run.py").write_text("def main(): print('tb-run 999')\n")
    built = folder.with_name("three-backup_999-1_all.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", folder, built], check=True)
    return built


@pytest.fixture(scope="module")
def postgres(server_folder: Path) -> Iterator[PostgresServer]:
    """A server that the hosts reach."""
    with PostgresServer(server_folder / "packaged", 17) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as session:
            session.execute(_ITEMS)
        yield server


@pytest.fixture(scope="module", params=("bookworm", "trixie"))
def host(
    request: pytest.FixtureRequest,
    server_folder: Path,
    package: Path,
    postgres: PostgresServer,
    seaweed: SeaweedServer,
) -> Iterator[Debian]:
    """A fresh host with the package, configured."""
    if why := obstacle():
        pytest.skip(why)
    suite = request.param
    bucket = f"packaged-{suite}"
    seaweed.create_bucket(bucket)
    folder = server_folder / suite
    folder.mkdir()
    with debian(folder, suite) as fresh:
        shutil.copy(package, fresh.root / "root")
        fresh.good("apt-get update -qq && apt-get install -qq -y ./three-backup_*.deb")
        if suite == "bookworm":
            _as_of_postgresql_org(fresh, postgres)
        _write(
            fresh.root / "etc/three_backup.yaml",
            _CONFIGURATION.format(
                endpoint=seaweed.endpoint,
                bucket=bucket,
                access_key=seaweed.access_key,
                secret_key=seaweed.secret_key,
            ),
        )
        environment = _ENVIRONMENT.format(port=postgres.port, password=postgres.password)
        _write(fresh.root / "etc/.env", environment)
        yield fresh
    seaweed.delete_bucket(bucket)


def test_what_is_installed_backs_up_and_proves_it(host: Debian) -> None:
    assert host.good("tb-run --version").startswith("tb-run ")
    assert host.good("man -w tb-run") == "/usr/share/man/man1/tb-run.1.gz\n"
    host.good("tb-run")
    assert '"how":"restored"' in host.good("tb-verify 'postgres/*items'")


def test_words_are_completed_out_of_what_the_host_knows(host: Debian) -> None:
    ask = "COMP_WORDS=(tb-list -s postgres/); _three_backup_ask ids postgres/"
    source = ". /usr/share/bash-completion/completions/three_backup"
    assert "postgres/table/" in host.good(f"{source}; {ask}")


def test_a_run_ends_with_the_code_that_it_began_with(host: Debian, next_package: Path) -> None:
    configuration = host.root / "etc/three_backup.yaml"
    before = configuration.read_text()
    configuration.write_text(before + _HOOK)
    shutil.copy(next_package, host.root / "root")
    host.good(
        "{ tb-run --base; echo $? >ended; } >out 2>&1 & until [ -e begun ]; do sleep 0.1; done"
    )
    host.good("dpkg -i three-backup_999-1_all.deb")
    assert host.good("tb-run --version") == "tb-run 999\n"
    host.good("touch go; until [ -s ended ]; do sleep 0.1; done")
    assert host.good("cat ended") == "0\n", host.good("cat out")
    configuration.write_text(before)
    host.good("rm begun go ended; dpkg -i three-backup_999-1_all.deb")
    assert len(_copies(host)) == 1


def test_an_older_version_comes_back(host: Debian) -> None:
    host.good("apt-get install -qq -y --allow-downgrades ./three-backup_[!9]*.deb")
    host.good("tb-run")


def test_what_is_the_operators_outlives_a_purge(host: Debian) -> None:
    host.good("apt-get remove -qq -y three-backup")
    assert host.sh("ls -d /usr/bin/tb-* /usr/share/three_backup").stdout == ""
    host.good("apt-get purge -qq -y three-backup")
    host.good(f"ls {' '.join(_KEPT)}")
    host.good("apt-get install -qq -y ./three-backup_[!9]*.deb")
    assert "up to date" in host.good("tb-run")


def test_lintian_has_nothing_to_say(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is missing (apt-get install lintian)")
    argv = ["lintian", "--allow-root", str(package)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_two_builds_are_one(package: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # the clock is told in seconds
    assert _built(tmp_path).read_bytes() == package.read_bytes()


def _built(folder: Path) -> Path:
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
    subprocess.run([_BUILD, folder], env=environ, check=True, stdout=subprocess.DEVNULL)
    (found,) = folder.iterdir()
    return found


def _as_of_postgresql_org(host: Debian, postgres: PostgresServer) -> None:
    """Put PostgreSQL 17 and its libpq, which Debian 12 lacks, where programs and we find them."""
    shutil.copytree(postgres.bindir.parent, host.root / "usr/lib/postgresql/17")
    host.good("ln -s /usr/lib/postgresql/17/bin/* /usr/local/bin")
    host.good("ln -s /usr/lib/postgresql/17/lib/libpq.so.5 /usr/local/lib && ldconfig")


def _copies(host: Debian) -> list[Path]:
    return list((host.root / "usr/share/three_backup").glob("copy-*"))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
