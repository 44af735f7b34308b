"""The wheel, as pip, pipx and uv install it, and the libraries that it asks for."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import psycopg
import pytest

from three_backup import __version__
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

ROOT = Path(__file__).parents[2]
_BUILD = ROOT / "three_backup" / "packaging" / "build-python"
_OLDEST_PYTHON = (3, 11)
_CONFIGURATION = """\
- "*":
    s3_endpoint: {endpoint}
    s3_bucket: {bucket}
    s3_access_key: {access_key}
    s3_secret_key: {secret_key}
    local_dir: {folder}/local
"""
_TABLES = ("items", "items_back")
_COUNT = "select count(*), sum(n) from {}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    return _build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def server(server_folder: Path) -> Iterator[PostgresServer]:
    with PostgresServer(server_folder / "oldest", 17) as server:
        yield server


def test_two_builds_are_one(built: Path, tmp_path: Path) -> None:
    again = {path.name: path.read_bytes() for path in _build(tmp_path).iterdir()}
    assert again == {path.name: path.read_bytes() for path in built.iterdir()}
    assert {Path(name).suffix for name in again} == {".whl", ".gz"}


@pytest.mark.parametrize("installer", ["pip", "pipx", "uv tool"])
def test_it_is_installed_by(installer: str, built: Path, tmp_path: Path) -> None:
    program, *words = installer.split()
    bin_folder = _environment(tmp_path / "installer", *([] if program == "pip" else [program]))
    (wheel,) = built.glob("*.whl")
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_BIN_HOME": str(tmp_path / "bin"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
    }
    environ.pop("PYTHONPATH", None)
    argv = [str(bin_folder / program), *words, "install", str(wheel)]
    subprocess.run(argv, env=environ, check=True, capture_output=True)
    tool = (bin_folder if program == "pip" else tmp_path / "bin") / "tb-run"
    said = subprocess.run([tool, "--version"], env=environ, check=True, capture_output=True)
    assert said.stdout.decode().startswith(f"tb-run {__version__} (Python ")
    assert list(tmp_path.rglob("share/man/man1/tb-run.1"))
    assert list(tmp_path.rglob("share/bash-completion/completions/tb-run"))


@pytest.mark.skipif(
    sys.version_info[:2] != _OLDEST_PYTHON, reason="only the oldest Python has their wheels"
)
def test_a_table_comes_back_with_the_oldest_libraries(
    built: Path, server: PostgresServer, seaweed: SeaweedServer, bucket: str, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    bin_folder = _environment(tmp_path / "oldest", str(wheel), *_oldest())
    configuration = tmp_path / "three_backup.yaml"
    configuration.write_text(
        _CONFIGURATION.format(
            endpoint=seaweed.endpoint,
            bucket=bucket,
            access_key=seaweed.access_key,
            secret_key=seaweed.secret_key,
            folder=tmp_path,
        )
    )
    configuration.chmod(0o600)
    environ = {**os.environ, **server.environ, "THREE_BACKUP_CONFIG": str(configuration)}
    environ.pop("PYTHONPATH", None)
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        session.execute("create table items as select generate_series(1, 9999) n")
        for tool, *words in (
            ("tb-run", "--base"),
            ("tb-run", "--incremental"),
            ("tb-restore", "--level3-suffix=_back", "postgres/table/postgres/public/items"),
        ):
            argv = [str(bin_folder / tool), *words]
            done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr + done.stdout
        before, after = (session.execute(_COUNT.format(t)).fetchone() for t in _TABLES)
    assert before == after


def _build(folder: Path) -> Path:
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
    subprocess.run([_BUILD, folder], env=environ, check=True, stdout=subprocess.DEVNULL)
    return folder


def _oldest() -> list[str]:
    """Return the lower bounds of setup.cfg as the only versions."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split()
    return [line.partition(",")[0].replace(">=", "==") for line in lines]


def _environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with the packages, and return the folder of its programs."""
    venv.create(folder, with_pip=True)
    install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    if packages:
        subprocess.run([*install, *packages], check=True)
    return folder / "bin"
