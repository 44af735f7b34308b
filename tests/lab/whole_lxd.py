"""Remember which files of tests on LXD and Incus are green: their machine is emulated, and slow.

A quick run does the core, and says which files are not green since they or the code that they
prove changed.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tests.lab import cache

_ROOT = Path(__file__).parents[2]
CORE = (
    "tests/lab/test_lab.py",
    "tests/lxd/test_sweep.py",
    "tests/pipeline/test_contract.py",
)
_ON_LAB = "lab: Lab"
PROVED = (
    "three_backup/sources/lxd",
    "three_backup/keeping",
    "three_backup/tree",
    "tests/lab",
    "tests/lxd/conftest.py",
    "tests/lxd/inside.py",
)


def pending() -> set[str]:
    """Return the files that were not green yet with the present code."""
    record = _record()
    found = (
        path for path in (_ROOT / "tests/lxd").glob("test_*.py") if _ON_LAB in path.read_text()
    )
    files = {*CORE, *(str(path.relative_to(_ROOT)) for path in found)}
    return {file for file in files if record.get(file) != _digest(file)}


def remember(files: Iterable[str]) -> None:
    """Record that files are green; not where the lab is not built, as they were skipped."""
    if cache.ready():
        record = _record() | {file: _digest(file) for file in files}
        _place().write_text(json.dumps(record, indent=1, sort_keys=True))


def _place() -> Path:
    return cache.home() / "lxd-green.json"


def _record() -> dict[str, str]:
    return dict(json.loads(_place().read_text())) if _place().exists() else {}


def _digest(file: str) -> str:
    places = [_ROOT / place for place in (*PROVED, file)]
    found = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
    digest = hashlib.sha256()
    for path in sorted(found):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
