"""A .env file gives credentials of the sources, and never replaces variables that are set."""

from pathlib import Path

import pytest

from three_backup.config import Configuration, environment_file, load
from three_backup.errors import ConfigurationError
from three_backup.model.storage import Storage

TEXT = """
# credentials
PGPASSWORD='a ${HOME} b'
export PGHOST=db1
PGUSER=from_file
CLICKHOUSE_PASSWORD="hush"
AWS_SECRET_ACCESS_KEY=hush
PATH=/nowhere
PGNOTHING
"""


def configuration(path: Path | None) -> Configuration:
    return Configuration(path, (), Storage(Path("/var/lib/three_backup")))


def test_only_the_variables_of_the_sources_are_taken_and_what_is_set_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(TEXT)
    beside = configuration(tmp_path / "three_backup.yaml")
    assert environment_file(beside, None, {"PGUSER": "set", "HOME": "/root"}) == {
        "PGPASSWORD": "a ${HOME} b",
        "PGHOST": "db1",
        "CLICKHOUSE_PASSWORD": "hush",
    }


def test_the_named_file_is_read_instead_of_the_one_beside_the_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("PGHOST=beside")
    (tmp_path / "named").write_text("PGHOST=named")
    beside = configuration(tmp_path / "three_backup.yaml")
    assert environment_file(beside, tmp_path / "named", {}) == {"PGHOST": "named"}


def test_without_a_file_nothing_is_added(tmp_path: Path) -> None:
    assert environment_file(configuration(tmp_path / "three_backup.yaml"), None, {}) == {}
    assert environment_file(configuration(None), None, {}) == {}


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        environment_file(configuration(None), tmp_path / "none", {})


def test_what_restores_reads_the_file_for_restores_first(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PGHOST=db1\nPGUSER=backup\nPGPASSWORD=weak\n")
    (tmp_path / ".env.restore").write_text("PGUSER=restore\nPGPASSWORD=strong\n")
    beside = configuration(tmp_path / "three_backup.yaml")
    assert environment_file(beside, None, {}, restores=True) == {
        "PGHOST": "db1",
        "PGUSER": "restore",
        "PGPASSWORD": "strong",
    }
    assert environment_file(beside, None, {})["PGUSER"] == "backup"
    assert environment_file(beside, tmp_path / ".env", {}, restores=True)["PGUSER"] == "backup"


def test_a_file_for_restores_that_everybody_can_read_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "three_backup.yaml"
    path.write_text("")
    for name, mode in ((".env", 0o600), (".env.restore", 0o644)):
        (tmp_path / name).write_text("PGPASSWORD=strong\n")
        (tmp_path / name).chmod(mode)
    (warning,) = load(path, {}).warnings
    assert warning.startswith(f"{tmp_path}/.env.restore: it holds secrets")
