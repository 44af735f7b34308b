"""The contents of the wheel that pip installs."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel, built as bin/tb-demo does: from a copy of what it calls `needed`."""
    folder = tmp_path_factory.mktemp("wheel")
    needed = re.search(r'^needed="(.*)"$', (ROOT / "bin" / "tb-demo").read_text(), re.MULTILINE)
    assert needed is not None
    for name in needed[1].split():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = "pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    argv = (sys.executable, "-m", *build.split(), "--wheel-dir", "dist", ".")
    subprocess.run(argv, cwd=folder, check=True)
    (wheel,) = (folder / "dist").iterdir()
    return zipfile.ZipFile(wheel).namelist()


def test_the_wheel_has_every_command_and_no_other(installed: list[str]) -> None:
    assert _below(installed, "scripts/") == {path.name for path in (ROOT / "bin").iterdir()}


def test_the_wheel_has_every_page_in_its_section(installed: list[str]) -> None:
    pages = {f"man{path.suffix[1:]}/{path.name}" for path in (ROOT / "man").iterdir()}
    assert _below(installed, "data/share/man/") == pages


def test_the_wheel_has_the_example_of_a_configuration(installed: list[str]) -> None:
    assert _below(installed, "data/share/doc/") == {"three_backup/three_backup.yaml"}


def test_the_wheel_has_what_monitoring_is_given(installed: list[str]) -> None:
    given = {path.name for path in (ROOT / "three_backup" / "share").iterdir()}
    assert _below(installed, "data/share/three_backup/") == given


def test_the_wheel_has_every_file_of_the_package(installed: list[str]) -> None:
    package = ROOT / "three_backup"
    written = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and not {"__pycache__", "packaging"} & set(path.parts)
    }
    assert {name for name in installed if name.startswith("three_backup/")} == written


def _below(names: list[str], folder: str) -> set[str]:
    """Return the paths below a folder of the wheel's .data folder."""
    return {name.partition(f".data/{folder}")[2] for name in names if f".data/{folder}" in name}
