"""A killed tb-restore leaves the target as it was, and the next one cleans up."""

import os
import select
import signal

from tests.pipeline.conftest import Host, both_versions
from tests.pipeline.test_failures import HASH, noisy, started, until

__all__ = ["noisy"]


@both_versions
def test_the_next_restore_clears_what_a_killed_one_left(noisy: Host) -> None:
    noisy.good("tb-run")
    copy, scratch = f"{noisy.database}_copy", noisy.folder / "scratch"
    scratch.mkdir(mode=0o711)
    noisy.configure(scratch_dir=scratch)
    there = f"select count(*) from pg_database where datname = '{copy}'"
    argv = ("tb-restore", "--level1", copy, noisy.table("noise"))

    with started(noisy, *argv) as process:
        until(lambda: noisy.rows(there) == [(1,)])
        process.send_signal(signal.SIGKILL)
    (pid_file,) = scratch.glob("*/pgdata/postmaster.pid")
    postmaster = os.pidfd_open(int(pid_file.read_text().split("\n")[0]))
    assert noisy.rows("select to_regclass('noise')", copy) == [(None,)]

    again = noisy.good(f"tb-restore --level1 {copy} {noisy.table('noise')}")

    assert list(scratch.iterdir()) == []
    assert select.select([postmaster], [], [], 0)[0] == [postmaster]
    os.close(postmaster)
    assert noisy.rows(HASH, copy) == noisy.rows(HASH)
    assert "now created" not in again.stderr
