"""Runs of real processes leave a trace, read by a real socket where the journal's would be."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.test_trace import fields, listening
from tests.tools.test_quiet_run import SPEAKING
from tests.tools.test_run import CARRIER, COPY, ERROR, ROOT, STAGES, Installation, record

TRACED = """
import sys
from functools import partial
from pathlib import Path
from three_backup import pipe
from three_backup.host.trace import Places
from three_backup.tools import run

here = Path(__file__).parent
sys.exit(pipe.main(run.__doc__, partial(run.run, places=Places(here / "journal", here / "log"))))
"""
DONE = {
    "snapshot": {
        "id": "20261101T031600Z-base",
        "kind": "base",
        "parent": None,
        "source_size": 2_000_000,
        "stored_size": 500_000,
        "seconds": 1.5,
    },
    "uploaded": {"snapshots": ["20261101T031600Z-base"], "bytes": 5, "resumed": 0, "seconds": 1},
    "removed": {"local": ["a"], "s3": []},
}


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Installation]:
    built = Installation(tmp_path)
    os.mkfifo(built.release)
    for name in STAGES:
        built.stage(name, COPY)
    built.stage("tb-run", TRACED)
    yield built
    for started in built.running:
        started.terminate()
        started.communicate(timeout=60)


def entries(journal: socket.socket) -> list[dict[str, str]]:
    """Return the entries of a run that has ended."""
    found = [fields(journal)]
    while " after " not in found[-1]["MESSAGE"]:
        found.append(fields(journal))
    return found


def test_a_run_tells_how_it_began_and_ended_and_what_it_did_to_each_carrier_once(
    traced: Installation,
) -> None:
    traced.discovers(record("users", **DONE), record("orders", **DONE))
    with listening(traced.folder / "journal") as journal:
        assert traced.run("-q", "-s", "postgres") == (0, "", "")
        found = entries(journal)
    assert [(entry.get("OBJECT"), entry["STAGE"], entry["PRIORITY"]) for entry in found] == [
        (None, "tb-run", "6"),
        (CARRIER, "tb-snapshot", "6"),
        (CARRIER, "tb-upload", "6"),
        (CARRIER, "tb-rotate", "6"),
        (None, "tb-run", "6"),
    ]
    assert len({entry["RUN"] for entry in found}) == 1
    begun, took, uploaded, removed, ended = (entry["MESSAGE"] for entry in found)
    assert begun == "the run begins -s postgres"
    assert took == f"{CARRIER}: took 20261101T031600Z-base, 2 MB at the source, 500 kB stored"
    assert uploaded == f"{CARRIER}: uploaded 20261101T031600Z-base, 5 B"
    assert removed == f"{CARRIER}: removed 1 snapshot on this host"
    assert ended.startswith("all is well with 2 objects; status 0 after ")


def test_stages_trace_what_they_say_even_if_it_is_held_back(traced: Installation) -> None:
    traced.stage("tb-upload", SPEAKING)
    (traced.folder / "warnings").write_text("others can read the file\n")
    traced.discovers(record("users"))
    with listening(traced.folder / "journal") as journal:
        for said in ("tb-upload: others can read the file\n", ""):
            assert traced.run("-q") == (0, "", said)
            (warning,) = [entry for entry in entries(journal) if entry["PRIORITY"] == "4"]
            assert warning["MESSAGE"] == "others can read the file"
            assert warning["STAGE"] == "tb-upload"


def test_a_failure_is_traced_by_its_code_once_a_carrier(traced: Installation) -> None:
    failing = SPEAKING.replace("lambda record: record", "fail").replace(
        "def run(",
        "from three_backup.errors import BackupError\n"
        "def fail(record):\n"
        f"    raise BackupError('s3.denied', {ERROR['message']!r}, 'check s3_access_key')\n"
        "def run(",
    )
    traced.stage("tb-upload", failing)
    (traced.folder / "warnings").write_text("")
    traced.discovers(record("users"), record("orders"))
    with listening(traced.folder / "journal") as journal:
        assert traced.run("-q")[0] == 1
        _, failure, ended = entries(journal)
    assert (failure["OBJECT"], failure["CODE"]) == (CARRIER, "s3.denied")
    assert (failure["STAGE"], failure["PRIORITY"]) == ("tb-upload", "3")
    assert failure["MESSAGE"] == f"{ERROR['message']}; check s3_access_key"
    assert ended["PRIORITY"] == "3"
    assert ended["MESSAGE"].startswith("2 of 2 objects failed; status 1 after ")


def test_a_run_that_finds_the_lock_held_is_traced(traced: Installation) -> None:
    traced.discovers(record("users"), then="import os; open(os.environ['RELEASE']).read()")
    with listening(traced.folder / "journal") as journal:
        first = traced.start()
        assert fields(journal)["MESSAGE"] == "the run begins"
        while "tb-discover" not in traced.members():
            pass
        assert traced.run()[0] == 75
        assert fields(journal)["CODE"] == "lock.run"
        traced.release.write_text("")
        assert first.wait(60) == 0


@pytest.mark.parametrize("place", ["a folder", "no folder"])
def test_a_trace_that_cannot_be_written_fails_no_run(traced: Installation, place: str) -> None:
    traced.discovers(record("users"))
    file = traced.folder if place == "a folder" else traced.folder / "none" / "log"
    assert traced.run("-q", options=f"    log_file: {file}\n") == (0, "", "")


def test_a_file_gets_the_trace_of_every_stage(traced: Installation) -> None:
    shutil.copy(ROOT / "bin/tb-run", traced.folder)
    traced.stage("tb-upload", SPEAKING)
    (traced.folder / "warnings").write_text("others can read the file\n")
    traced.discovers(record("users"))
    log = traced.folder / "three_backup.log"
    traced.run(options=f"    log_file: {log}\n")
    words = [line.split(maxsplit=3)[3] for line in log.read_text().splitlines()]
    assert words[:2] == [
        "info tb-run: the run begins",
        "warning tb-upload: others can read the file",
    ]
    assert words[2].startswith("info tb-run: all is well with 1 object; status 0 after ")
