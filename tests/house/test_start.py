"""What the tools import before they know their work: cron starts six of them each time."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path.stem for path in (ROOT / "three_backup" / "tools").glob("[a-z]*.py"))
LATE = {
    "botocore",
    "croniter",
    "cryptography",
    "dotenv",
    "html",
    "http",
    "psycopg",
    "three_backup.sources.clickhouse.client",
    "three_backup.sources.postgres.index",
    "tqdm",
    "xml",
    "zoneinfo",
    "zstandard",
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_starts_without_what_only_some_of_its_work_needs(tool: str) -> None:
    own = _modules(f"import three_backup.tools.{tool}") - _modules("pass")
    assert f"three_backup.tools.{tool}" in own
    assert not own & LATE


@cache
def _modules(statement: str) -> set[str]:
    """Return the names of the modules that are loaded after the statement."""
    argv = (sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)")
    return set(
        subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    )
