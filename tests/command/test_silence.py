"""A program that shows no sign of life is given up, and one that works is not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from three_backup.command import Program, feed, growth, own_work, pipe, run, stream
from three_backup.errors import SilentError
from three_backup.host import patience as host_patience

Patience = Callable[[float], None]

STALLED = "echo begun; exec sleep 600"
SLOW = "for i in 1 2 3 4 5; do sleep 0.3; echo $i; done"
SLOW_READER = "for i in 1 2 3 4 5; do sleep 0.3; dd bs=64k count=4 of=/dev/null 2>&1; done; cat"


def shell(script: str, **how: object) -> Program:
    return Program(("sh", "-c", script), **how)  # type: ignore[arg-type]


def pieces(count: int) -> Iterator[bytes]:
    return (bytes(64 << 10) for _ in range(count))


def read(program: Program) -> bytes:
    with stream(program) as readable:
        return readable.read()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize(
    "act",
    [
        lambda: run(shell(STALLED)),
        lambda: run(shell("exec sleep 600"), "x" * 1_000_000),
        lambda: run(shell("exec >&-; exec sleep 600")),
        lambda: read(shell(STALLED)),
        lambda: feed(shell("exec sleep 600"), pieces(100)),
        lambda: feed(shell("cat > /dev/null; exec sleep 600"), pieces(100)),
        lambda: pipe(shell(STALLED), Program(("cat",))),
        lambda: pipe(Program(("yes",)), shell("exec sleep 600")),
    ],
)
def test_a_program_that_moves_nothing_is_given_up(
    act: Callable[[], object], patience: Patience
) -> None:
    patience(0.4)
    with within(5), pytest.raises(SilentError) as given_up:
        act()
    assert given_up.value.code == "server.silent"
    assert "sh showed no sign of life for 0:00:00.400000 and was given up" in str(given_up.value)
    assert "server_timeout" in given_up.value.hint


@pytest.mark.parametrize(
    "act",
    [
        lambda: run(shell(SLOW)),
        lambda: read(shell(SLOW)),
        lambda: feed(shell(SLOW_READER), pieces(40)),
        lambda: pipe(shell(SLOW), Program(("cat",))),
        lambda: pipe(Program(("head", "-c", "2000000", "/dev/zero")), shell(SLOW_READER)),
    ],
)
def test_bytes_that_move_are_signs_of_life(act: Callable[[], object], patience: Patience) -> None:
    patience(1)
    act()


def test_a_program_that_waits_for_us_is_not_silent(patience: Patience) -> None:
    patience(0.4)
    with stream(Program(("head", "-c", "9000000", "/dev/zero"))) as readable:
        readable.read(1)
        time.sleep(0.6)
        assert len(readable.read()) == 9_000_000 - 1


def test_the_sentence_names_the_object_and_the_command(patience: Patience) -> None:
    patience(0.3)
    program = Program(("sleep", "infinity"), what="lxd/container/default/default/web")
    with pytest.raises(SilentError, match=r"^lxd/container/default/default/web: sleep infinity "):
        run(program)


def test_a_program_that_works_without_a_word_is_alive(patience: Patience) -> None:
    patience(0.5)
    busy = "end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do :; done"
    run(shell(busy, life=own_work))
    with pytest.raises(SilentError):
        run(shell("exec sleep 600", life=own_work))


def test_a_file_that_grows_is_a_sign_of_life(
    patience: Patience, tmp_path_factory: pytest.TempPathFactory
) -> None:
    patience(1)
    log = tmp_path_factory.mktemp("log") / "log"
    grows = f"for i in 1 2 3 4 5 6; do sleep 0.4; echo $i >> {log}; done"
    run(shell(grows, life=growth(log)))
    with pytest.raises(SilentError):
        run(shell("exec sleep 600", life=growth(log)))


def test_a_program_that_nobody_can_end_is_not_waited_for(
    patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in uninterruptible sleep takes no signal."""
    patience(0.3)
    monkeypatch.setattr("three_backup.command.child.GRACE", 0.2)
    kill = subprocess.Popen.kill
    left: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess.Popen, "terminate", lambda process: left.append(process))
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: left.append(process))
    with within(5), pytest.raises(SilentError):
        run(Program(("sleep", "600")))
    assert left[0].poll() is None
    kill(left[0])
    left[0].wait()


def test_the_clean_up_after_a_silence_is_short(
    patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_patience, "CLEAN_UP", 0.3)
    patience(0.3)
    with within(5):
        try:
            run(Program(("sleep", "600")))
        except SilentError:
            patience(600)
            with pytest.raises(SilentError):
                run(Program(("sleep", "600")))


def test_who_was_silent_gets_a_tenth_until_it_is_heard(
    patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_patience, "CLEAN_UP", 0.1)
    patience(0.2)
    with pytest.raises(SilentError):
        run(shell("exec sleep 600"))
    patience(6)
    with within(4), pytest.raises(SilentError):
        run(shell("exec sleep 600"))
    run(shell("true"))
    patience(3)
    run(shell("sleep 1"))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 3), (signal.SIGHUP, 3), (signal.SIGINT, 4)]
)
def test_a_signal_leaves_seconds_for_a_program_and_a_clean_up_that_hang(
    number: signal.Signals, status: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    noted = tmp_path_factory.mktemp("signal") / "pid"
    ignoring = f"trap '' TERM INT HUP; echo $$ > {noted}; while :; do sleep 0.1; done"
    script = (
        "import sys\n"
        "from three_backup.command import Program, run\n"
        "from three_backup.errors import BackupError\n"
        "from three_backup.host import signals\n"
        "signals.listen()\n"
        f"stuck = Program(('sh', '-c', {ignoring!r}))\n"
        "try:\n"
        "    try: run(stuck)\n"
        "    finally: run(stuck)\n"
        "except signals.StoppedError: sys.exit(3)\n"
        "except KeyboardInterrupt: sys.exit(4)\n"
        "except BackupError: sys.exit(5)\n"
    )
    with subprocess.Popen((sys.executable, "-c", script)) as owner:
        while not (noted.exists() and noted.read_text()):
            time.sleep(0.05)
        with within(9):
            owner.send_signal(number)
            assert owner.wait() == status
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)
