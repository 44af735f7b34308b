"""One run at a time, however the previous run ended."""

import json
import os
import select
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.sample import Sample
from three_backup.errors import BackupError, BusyError, Exit
from three_backup.host.locks import IfRunning, RunLock, Takeover, run_lock
from three_backup.host.processes import Holder, boot_id, holders

Owner = subprocess.Popen[str]
Run = Callable[..., Owner]

SKIP = Takeover()
AT_ONCE = Takeover(IfRunning.KILL, kill_after=timedelta(0), grace=30)
PATIENT = Takeover(IfRunning.KILL, grace=30)


def clock() -> datetime:
    return datetime.now(UTC)


def take(folder: Path, patience: Takeover = SKIP) -> AbstractContextManager[RunLock]:
    return run_lock(folder, patience, clock, lambda sentence: None)


def said(owner: Owner) -> list[str]:
    """Return the words of the next line that the owner prints: "held" once it holds the lock."""
    assert owner.stdout is not None
    return owner.stdout.readline().split()


def let_go(owner: Owner) -> None:
    assert owner.stdin is not None
    owner.stdin.close()


def claim(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "locks/run").read_text())
    return content


def write_claim(folder: Path, **changes: object) -> None:
    (folder / "locks/run").write_text(json.dumps(claim(folder) | changes) + "\n")


def is_free(folder: Path) -> bool:
    try:
        with take(folder):
            return True
    except BusyError:
        return False


def test_a_live_owner_keeps_others_out_and_is_named(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    with pytest.raises(BusyError) as raised, take(tmp_path):
        pass
    assert raised.value.status is Exit.BUSY
    assert f"(process {owner.pid}) since 20" in raised.value.message


def test_a_dead_owner_is_no_obstacle(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    owner.kill()
    owner.wait()
    assert claim(tmp_path)["members"][0]["pid"] == owner.pid
    with take(tmp_path):
        assert claim(tmp_path)["members"][0]["pid"] == os.getpid()


def test_a_file_that_names_a_reused_number_is_no_obstacle(run: Run, tmp_path: Path) -> None:
    with take(tmp_path):
        pass
    write_claim(tmp_path, members=[{"name": "tb-run", "pid": 1, "start_time": 1, "uid": 0}])
    assert is_free(tmp_path)


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"members": [{}]}', "\0" * 5000])
def test_a_file_with_any_content_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/run").write_text(content)
    with take(tmp_path):
        assert claim(tmp_path)["boot_id"] == boot_id()


def test_the_file_stays_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with take(tmp_path):
        pass
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "locks/run").stat().st_mode) == 0o600


def test_a_stage_that_outlives_its_run_keeps_the_lock(run: Run, tmp_path: Path) -> None:
    owner = run("skip", "named")
    stage = said(owner)[1]
    owner.kill()
    owner.wait()
    with pytest.raises(BusyError, match=rf"tb-upload \(process {stage}\)"), take(tmp_path):
        pass
    pidfd = os.pidfd_open(int(stage))
    let_go(owner)
    wait_for_end(pidfd)
    assert is_free(tmp_path)


def wait_for_end(pidfd: int) -> None:
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)


def test_of_two_that_start_together_one_runs(
    run: Run, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    for _ in range(50 if Sample.of(pytestconfig).everything else 10):
        pair = [run(), run()]
        holding = [owner for owner in pair if said(owner)]
        assert len(holding) == 1
        let_go(holding[0])
        assert sorted(owner.wait() for owner in pair) == [0, 1]


def test_who_waits_gets_the_lock_when_it_is_free(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    waiting = run("wait")
    assert said(waiting)[0] == "waiting"
    assert [holder.pid for holder in holders(tmp_path / "locks/run")] == [owner.pid]
    let_go(owner)
    assert said(waiting)[0] == "held"


def test_who_waits_can_be_interrupted(run: Run, tmp_path: Path) -> None:
    said(run())
    waiting = run("wait")
    said(waiting)
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(10) == -signal.SIGINT


def test_who_waited_for_a_file_that_was_removed_takes_the_new_one(
    run: Run, tmp_path: Path
) -> None:
    first = run()
    said(first)
    waiting = run("wait")
    said(waiting)
    (tmp_path / "locks/run").unlink()
    with take(tmp_path):
        let_go(first)
        first.wait()
        assert [holder.pid for holder in holders(tmp_path / "locks/run")] == [os.getpid()]
    assert said(waiting)[0] == "held"


def test_a_young_run_that_moves_is_not_killed(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    with pytest.raises(BusyError, match="24 hours"), take(tmp_path, PATIENT):
        pass
    assert owner.poll() is None


def test_a_run_that_is_too_old_is_ended_with_its_stages(run: Run, tmp_path: Path) -> None:
    owner = run("skip", "named")
    pidfd = os.pidfd_open(int(said(owner)[1]))
    with take(tmp_path, AT_ONCE):
        assert claim(tmp_path)["members"][0]["pid"] == os.getpid()
        assert owner.wait(10) == -signal.SIGTERM
        wait_for_end(pidfd)


def test_a_run_whose_heartbeat_is_dead_is_ended(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    two_hours_ago = clock().timestamp() - 7200
    os.utime(tmp_path / "locks/run", (two_hours_ago, two_hours_ago))
    with take(tmp_path, PATIENT):
        assert owner.wait(10) == -signal.SIGTERM


def test_a_heartbeat_keeps_a_run_alive(tmp_path: Path) -> None:
    with take(tmp_path) as lock:
        os.utime(lock.path, (0, 0))
        lock.beat()
        assert clock().timestamp() - lock.path.stat().st_mtime < 60


def test_a_run_that_ignores_sigterm_is_killed(stubborn_run: Run, tmp_path: Path) -> None:
    owner = stubborn_run()
    said(owner)
    soon = Takeover(IfRunning.KILL, kill_after=timedelta(0), grace=0.2)
    with take(tmp_path, soon):
        assert owner.wait(10) == -signal.SIGKILL


def test_an_orphan_that_no_file_names_is_found_by_the_lock_it_holds(
    run: Run, tmp_path: Path
) -> None:
    owner = run("skip", "unnamed")
    pidfd = os.pidfd_open(int(said(owner)[1]))
    owner.kill()
    owner.wait()
    with take(tmp_path, AT_ONCE):
        wait_for_end(pidfd)


def test_a_bystander_with_a_reused_number_is_never_killed(run: Run, tmp_path: Path) -> None:
    with subprocess.Popen(("sleep", "600")) as bystander:
        owner = run()
        said(owner)
        mistaken = Holder.of(bystander.pid)
        assert mistaken is not None
        members = [
            {"name": "tb-upload", "pid": mistaken.pid, "start_time": 1, "uid": mistaken.uid}
        ]
        write_claim(tmp_path, members=members)
        with take(tmp_path, AT_ONCE):
            assert owner.wait(10) == -signal.SIGTERM
        assert bystander.poll() is None
        bystander.kill()


def test_nothing_is_killed_for_a_file_of_before_the_last_start_of_the_machine(
    run: Run, tmp_path: Path
) -> None:
    owner = run()
    said(owner)
    write_claim(tmp_path, boot_id="0")
    with pytest.raises(BusyError, match="not killed"), take(tmp_path, AT_ONCE):
        pass
    assert owner.poll() is None


def test_the_run_of_another_user_is_never_killed(anothers_run: Run, tmp_path: Path) -> None:
    owner = anothers_run()
    said(owner)
    with pytest.raises(BusyError, match="belongs to another user"), take(tmp_path, AT_ONCE):
        pass
    let_go(owner)
    assert owner.wait(10) == 0
    assert is_free(tmp_path)


def test_another_user_is_told_whose_folder_it_is(refused_run: Run) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with take(folder):
            assert said(refused_run(folder))[:1] == ["lock.folder"]
        assert is_free(folder)
        assert said(refused_run(folder))[-2:] == ["(Permission", "denied)"]


def test_who_only_waits_is_not_killed_with_the_owner(run: Run, tmp_path: Path) -> None:
    owner = run()
    said(owner)
    waiting = run("wait")
    said(waiting)
    with suppress(BusyError), take(tmp_path, AT_ONCE):  # the waiting run may be faster
        pass
    assert owner.wait(10) == -signal.SIGTERM
    assert said(waiting)[0] == "held"


def test_the_stages_of_a_run_are_in_the_file(tmp_path: Path) -> None:
    with take(tmp_path) as lock:
        ourselves = Holder.of(os.getpid(), "tb-run")
        assert ourselves is not None
        lock.name([ourselves] * 50)
        lock.name([ourselves])
        members = [
            {
                "name": "tb-run",
                "pid": os.getpid(),
                "start_time": ourselves.start_time,
                "uid": os.geteuid(),
            }
        ]
        assert claim(tmp_path)["members"] == members


def test_a_folder_that_cannot_be_made_is_a_sentence_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="cannot be taken") as raised, take(tmp_path / "file"):
        pass
    assert "local_dir" in raised.value.hint


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/run").symlink_to(tmp_path / "precious")
    with pytest.raises(BackupError, match="cannot be taken"), take(tmp_path):
        pass
    assert not (tmp_path / "precious").exists()
