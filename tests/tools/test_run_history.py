"""tb-status --runs: what each of the last runs did, by runs of real processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.model.test_record_schema import VALIDATOR
from tests.tools.test_run import COPY, ERROR, ROOT, STAGES, Installation, ended, record
from tests.tools.test_traced_run import DONE


class Remembered(Installation):
    """An installation that shows its runs."""

    def shown(self, *arguments: str, columns: int | None = None) -> list[str]:
        configuration = self.folder / "configuration.yaml"
        argv = (sys.executable, str(ROOT / "bin/tb-status"), "-c", str(configuration), "--runs")
        width = {"COLUMNS": "" if columns is None else str(columns)}
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "Europe/Moscow", **width}
        shown = subprocess.run(
            (*argv, *arguments), capture_output=True, text=True, check=True, env=environ
        )
        assert shown.stderr == ""
        return shown.stdout.splitlines()

    def records(self) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.shown("--json")]
        for each in records:
            VALIDATOR.validate(each)
        return [each["run"] for each in records]


@pytest.fixture
def remembered(tmp_path: Path) -> Iterator[Remembered]:
    shutil.copy(ROOT / "bin/tb-run", tmp_path)
    built = Remembered(tmp_path)
    os.mkfifo(built.release)
    for name in STAGES:
        built.stage(name, COPY)
    yield built
    for started in built.running:
        started.terminate()
        started.communicate(timeout=60)


def test_each_run_tells_when_it_began_how_it_ended_and_what_it_did(
    remembered: Remembered,
) -> None:
    remembered.discovers(record("users", **DONE), record("orders", **DONE))
    remembered.run()
    remembered.discovers(record("users"))
    remembered.run("-q", "-s", "postgres")
    remembered.discovers(record("users", error=ERROR))
    remembered.run("-q")
    heading, *rows = remembered.shown()
    assert heading.split() == ["BEGAN", "TOOK", "STATUS", "WHAT", "IT", "DID"]
    row = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d MSK +[^a-z]+ s  (\d) {7}(.*)"
    assert [re.fullmatch(row, line).groups() for line in rows] == [  # type: ignore[union-attr]
        ("0", "took 1 base; uploaded 1, 5 B; removed 1"),
        ("0", "-s postgres: all is well with 1 object"),
        ("1", f"1 of 1 object failed: {ERROR['message']}; {ERROR['hint']}"),
    ]
    first, second, third = remembered.records()
    assert first["taken"] == {"base": 1, "source_size": 2_000_000, "stored_size": 500_000}
    assert (second["patterns"], second["status"]) == (["postgres"], 0)
    assert third["failures"] == [f"{ERROR['message']}; {ERROR['hint']}"]


def test_a_narrow_screen_cuts_only_what_was_done(remembered: Remembered) -> None:
    remembered.discovers(record("users", error=ERROR))
    remembered.run()
    _, row = remembered.shown(columns=80)
    assert len(row) <= 80
    assert "1 of 1 object failed:" in row
    assert row.endswith("…")


def test_a_run_that_is_at_work_and_one_that_was_killed_are_told_apart(
    remembered: Remembered,
) -> None:
    wait = "import os; open(os.environ['RELEASE']).read()"
    remembered.discovers(record("users"), then=wait)
    started = remembered.start("--json")
    assert started.stdout is not None
    started.stdout.readline()
    assert "at work" in remembered.shown()[-1]
    members = remembered.members()
    pidfds = [os.pidfd_open(pid) for pid in members.values()]
    for pid in members.values():
        os.kill(pid, signal.SIGKILL)
    assert ended(pidfds)
    remembered.discovers(record("users"))
    remembered.run()
    killed, good = remembered.shown()[1:]
    assert killed.split()[3:] == ["-", "killed"]
    assert good.endswith("all is well with 1 object")
    assert [run["status"] for run in remembered.records()] == [None, 0]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"7", b'{"v": 2}', b'{"v": 1, "runs": [{}]}', b"\xff"]
)
def test_a_damaged_memory_is_an_empty_one(remembered: Remembered, content: bytes) -> None:
    remembered.state.mkdir()
    memory = remembered.state / "runs.json"
    memory.write_bytes(content)
    remembered.discovers(record("users"))
    assert remembered.run()[0] == 0
    assert len(remembered.records()) == 1


def test_before_any_run_that_is_said(remembered: Remembered) -> None:
    (remembered.folder / "configuration.yaml").write_text(
        f'- "*":\n    local_dir: {remembered.state}\n'
    )
    assert remembered.shown() == ["no run is known: tb-run remembers the last twenty"]
    assert remembered.records() == []


def test_a_memory_that_cannot_be_written_fails_no_run(remembered: Remembered) -> None:
    (remembered.state / "runs.json").mkdir(parents=True)
    remembered.discovers(record("users"))
    status, _, errors = remembered.run("-q")
    assert status == 0
    assert "this run is not remembered for tb-status" in errors
