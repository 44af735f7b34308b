"""The files of three_backup/packaging agree with one another and with setup.cfg."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PACKAGING = ROOT / "three_backup" / "packaging"
_UNITS = sorted((_PACKAGING / "systemd").iterdir())
_SERVICES = [unit for unit in _UNITS if unit.suffix == ".service"]
_MOST_EXPOSED = 4.0
_NAMES = {"PyYAML": "yaml", "boto3": "botocore", "psycopg[binary]": "psycopg"}
"""Libraries whose package has another name, or is only the part of them that is used."""

_OLDER = {"psycopg": "3.1.7"}
"""With a libpq that is new enough; the wheels of that version bring one that is not."""


def required() -> dict[str, str]:
    """Return the lower bounds of setup.cfg by the names that Debian has."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split("\n")
    found = re.findall(r"^([\w\[\]-]+)>=([\d.]+)", "\n".join(lines), re.MULTILINE)
    assert len(found) == len([line for line in lines if line])
    return {_NAMES.get(name, name.removeprefix("python-")): bound for name, bound in found}


def test_the_package_brings_or_depends_on_every_library() -> None:
    control = (_PACKAGING / "debian/control").read_text()
    bundled = (_PACKAGING / "debian/bundled.txt").read_text()
    depended = dict(re.findall(r"\bpython3-(\w+) \(>= ([\d.]+)\)", control))
    brought = dict(re.findall(r"^([\w-]+)==([\d.]+) ", bundled, re.MULTILINE))
    for name, bound in required().items():
        if name in depended:
            assert depended[name] == _OLDER.get(name, bound)
        else:
            assert _number(brought[name]) >= _number(bound)


@pytest.mark.parametrize("service", _SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_confined(service: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (apt-get install systemd)")
    argv = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(service)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    exposure = re.search(r"Overall exposure level .*: ([\d.]+) ", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= _MOST_EXPOSED


@pytest.mark.parametrize("service", _SERVICES, ids=lambda unit: unit.stem)
def test_a_service_has_a_timer_and_starts_a_tool(service: Path) -> None:
    assert service.with_suffix(".timer") in _UNITS
    started = re.search(r"^ExecStart=(tb-\w+)", service.read_text(), re.MULTILINE)
    assert started is not None
    assert (ROOT / "bin" / started[1]).is_file()


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
