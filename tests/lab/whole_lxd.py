"""Decide whether all tests on LXD and Incus run, or only the core: their machine is emulated.

All run with `--all`, and where the code that they prove changed since all of them were last green
on this host.
"""

import hashlib
from pathlib import Path

from tests.lab import cache

_ROOT = Path(__file__).parents[2]
CORE = (
    "tests/lab/test_lab.py",
    "tests/lxd/test_sweep.py",
    "tests/pipeline/test_contract.py",
)
PROVED = (
    "three_backup/sources/lxd",
    "three_backup/keeping",
    "tests/lxd",
    "tests/lab",
)


def changed() -> bool:
    """Whether the code that they prove changed since all of them were green."""
    record = _record()
    return not record.exists() or record.read_text() != _digest()


def remember() -> None:
    """Record that all of them are green; not where the lab is not built, as they were skipped."""
    if cache.ready():
        _record().write_text(_digest())


def _record() -> Path:
    return cache.home() / "lxd-green"


def _digest() -> str:
    found = [path for place in PROVED for path in (_ROOT / place).rglob("*") if path.is_file()]
    found += [path for place in PROVED if (path := _ROOT / place).is_file()]
    digest = hashlib.sha256()
    for path in sorted(found):
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
