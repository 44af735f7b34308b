"""A lack of room, rights or file descriptors is reported, and the next run is green.

`--seeds N` tries more sizes of the disk than a usual run.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.lab.sample import Sample
from tests.pipeline.conftest import Host, Outcome
from tests.pipeline.test_failures import HASH, MEGABYTE, is_green

CYCLE = "tb-discover | tb-snapshot {} | tb-upload | tb-rotate"
ROOM = 8 * MEGABYTE
"""Bytes, more than a snapshot of the test takes on this host."""

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "room" in metafunc.fixturenames:
        seeds = Sample.of(metafunc.config).instants("room")
        rooms = [Random(seed).randrange(64 << 10, ROOM) for seed in seeds[: 1 + len(seeds) // 5]]
        metafunc.parametrize("room", rooms)


@pytest.fixture
def noisy(host: Host) -> Host:
    """A host with a table of a few megabytes that do not compress."""
    host.execute(
        "create table noise as select i as id, sha512(i::text::bytea) as word"
        " from generate_series(1, 30000) i"
    )
    return host


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs on the folder during the block."""
    folder.mkdir(mode=0o711, exist_ok=True)
    _mount("mount", "-t", "tmpfs", "-o", f"mode=0711,{options}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _mount("umount", "-l", str(folder))


def _mount(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0 and argv[0] == "mount":
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


def said(outcome: Outcome, sentence: str) -> None:
    """Check that the failure is this sentence, without a traceback."""
    assert outcome.status == 1, outcome.stderr
    assert sentence in outcome.stderr.lower()
    assert "Traceback" not in outcome.stderr


@only_root
@pytest.mark.parametrize("kind", ["base", "incremental"])
def test_a_disk_that_is_full_is_said_and_with_room_again_all_is_well(
    noisy: Host, kind: str, room: int
) -> None:
    with disk(noisy.local_dir, f"size={4 * ROOM}"):
        if kind == "incremental":
            noisy.good(CYCLE.format("--base"))
            noisy.execute("update noise set word = sha512(word)")
        used = sum(path.stat().st_blocks * 512 for path in noisy.local_dir.rglob("*"))
        _mount("mount", "-o", f"remount,size={used + room}", str(noisy.local_dir))
        outcome = noisy.sh(CYCLE.format(f"--{kind}"))
        if outcome.status != 0:
            said(outcome, "no space left on device; make room there")
        assert not list(noisy.local_dir.rglob(".unfinished-*"))
        _mount("mount", "-o", f"remount,size={8 * ROOM}", str(noisy.local_dir))
        noisy.good(CYCLE.format(f"--{kind}"))
        then = noisy.rows(HASH)
        noisy.good("tb-run")
        noisy.wipe()
        noisy.good(f"tb-restore --level3 back {noisy.table('noise')}")
        assert noisy.rows(HASH.replace("noise", "back")) == then


@only_root
def test_a_restore_without_room_touches_nothing(noisy: Host, room: int) -> None:
    noisy.good("tb-run")
    noisy.wipe()
    scratch = noisy.folder / "scratch"
    noisy.configure(scratch_dir=scratch)
    restore = f"tb-restore --level3 back {noisy.table('noise')}"
    with disk(scratch, f"size={room}"):
        outcome = noisy.sh(restore)
        said(outcome, "tb-restore: ")
        assert noisy.rows("select to_regclass('back')") == [(None,)]
        assert list(scratch.iterdir()) == []
    noisy.good(restore)
    assert noisy.rows(HASH.replace("noise", "back")) == noisy.rows(HASH)


@only_root
@only_root
def test_a_check_sees_a_full_disk_and_one_too_small_for_the_next_base(noisy: Host) -> None:
    with disk(noisy.local_dir, f"size={4 * ROOM}"):
        noisy.good("tb-run")
        assert "room: " in noisy.good("tb-check -s host -s postgres").stdout
        used = sum(path.stat().st_blocks * 512 for path in noisy.local_dir.rglob("*"))
        _mount("mount", "-o", f"remount,size={used + MEGABYTE}", str(noisy.local_dir))
        tight = noisy.sh(
            "tb-check --json -s postgres | jq -r 'select(.finding.subject==\"room\")'"
        )
        assert '"mark": "note"' in tight.stdout
        (noisy.local_dir / "filler").write_bytes(bytes(MEGABYTE - 4096))
        full = noisy.sh("tb-check -s host")
        assert full.status == 1
        assert "no space left on device" in full.stdout


def test_a_folder_that_cannot_be_written_is_said(noisy: Host) -> None:
    with disk(noisy.local_dir, "ro"):
        for command in ("tb-run", CYCLE.format("--base")):
            said(noisy.sh(command), "read-only file system")
        assert noisy.sh("tb-list").status == 0
    is_green(noisy)


@pytest.mark.parametrize("descriptors", [12, 24])
def test_too_few_file_descriptors_are_said(noisy: Host, descriptors: int) -> None:
    outcome = noisy.real.sh(f"ulimit -n {descriptors}; {CYCLE.format('--base')}")
    assert "Traceback" not in outcome.stderr
    if outcome.status != 0:
        assert "open files" in outcome.stderr
    restored = noisy.real.sh(
        f"ulimit -n {descriptors}; tb-restore --level3 b {noisy.table('noise')}"
    )
    assert "Traceback" not in restored.stderr
    is_green(noisy)
