"""Programs run without a shell, and none of their failures is lost."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from three_backup.command import Program, begun, feed, joined, pipe, run, stream
from three_backup.errors import BackupError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def shell(script: str, **how: object) -> Program:
    return Program(("sh", "-c", script), **how)  # type: ignore[arg-type]


def failure(act: Callable[[], object]) -> BackupError:
    with pytest.raises(BackupError) as raised:
        act()
    return raised.value


def test_run_returns_what_the_program_printed() -> None:
    assert run(Program(("printf", "%s", "Привет\n"))) == "Привет\n"


def test_a_program_without_input_reads_an_empty_file() -> None:
    assert run(Program(("cat",))) == ""


def test_input_larger_than_a_pipe_reaches_the_program_whole() -> None:
    assert run(Program(("wc", "-c")), "x" * 1_000_000).strip() == "1000000"


def test_a_program_may_end_before_it_has_read_its_input() -> None:
    assert run(Program(("true",)), "x" * 1_000_000) == ""


def test_what_was_begun_is_waited_for_only_as_long_as_is_asked(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with begun(shell(f"cat; cat {go}"), b"given, ") as program:
        assert program.speaks(60)
        go.write_text("told")
        assert program.output() == "given, told"
    with begun(shell(f"cat {go}"), b"") as program:
        assert not program.speaks(0)
        go.write_text("")
        assert program.speaks(60)
        assert program.output() == ""


def test_what_was_begun_fails_like_what_is_run() -> None:
    with begun(shell("cat >&2; exit 3"), b"why") as program:
        assert "(exit status 3): why" in failure(program.output).message


def test_what_was_begun_is_ended_with_its_block() -> None:
    with begun(shell("echo $$; exec sleep 60"), b"") as program:
        assert program.speaks(60)
    assert "ended by SIGTERM" in failure(program.output).message


def test_arguments_are_never_read_by_a_shell() -> None:
    assert run(Program(("printf", "%s", "$(id) ; *"))) == "$(id) ; *"


def test_messages_are_english_wherever_the_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    assert run(shell('echo "$LC_ALL/$LANGUAGE"')) == "C.UTF-8/\n"


def test_variables_are_added_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "ours")
    program = shell(
        'echo "${PGHOST-none} $PGPORT"', environment={"PGHOST": None, "PGPORT": "5433"}
    )
    assert run(program) == "none 5433\n"


def test_a_failure_says_who_failed_how_and_why() -> None:
    script = "echo noise >&2; echo >&2; echo 'sh: the disk is full' >&2; exit 3"
    error = failure(lambda: run(shell(script, code="pg.dump", what="postgres/table/a/b/c")))
    assert error.code == "pg.dump"
    assert error.message == (
        "postgres/table/a/b/c: sh failed (exit status 3): noise; the disk is full"
    )


def test_a_program_that_was_killed_names_the_signal() -> None:
    assert "sh failed (ended by SIGKILL)" in str(failure(lambda: run(shell("kill -9 $$"))))


def test_only_the_first_and_the_last_lines_of_a_talkative_program_are_quoted() -> None:
    error = failure(lambda: run(shell("echo >&2; seq 200000 >&2; exit 1")))
    assert error.message == "sh failed (exit status 1): 1; 2; …; 199998; 199999; 200000"


def test_the_code_of_an_answer_of_many_lines_is_quoted() -> None:
    answer = "Received exception from server\nCode: 359. DB::Exception: too large"
    script = f"printf '{answer}\\n' >&2; seq 60 >&2; exit 103"
    assert "Code: 359." in failure(lambda: run(shell(script))).message


def test_secrets_are_taken_out_of_what_a_program_says() -> None:
    program = shell(
        "echo key hunter2 >&2; exit 1", redact=lambda text: text.replace("hunter2", "…")
    )
    assert failure(lambda: run(program)).message.endswith("key …")


def test_a_missing_program_is_named_with_its_package() -> None:
    error = failure(lambda: run(Program(("tb-no-such-program",), package="three_backup")))
    assert error.code == "command.missing"
    assert error.message == "the program tb-no-such-program is missing"
    assert "install three_backup" in error.hint


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    error = failure(lambda: run(Program(("true",), cwd=tmp_path / "gone")))
    assert "gone" in error.message
    assert error.code == "command.failed"


@as_root
def test_another_user_has_its_own_home_and_none_of_our_groups() -> None:
    nobody = pwd.getpwnam("nobody")
    said = run(shell('id -G; pwd; echo "$USER $HOME"', user="nobody")).splitlines()
    assert said == [str(nobody.pw_gid), "/", f"nobody {nobody.pw_dir}"]


def test_an_unknown_user_is_a_sentence() -> None:
    error = failure(lambda: run(Program(("true",), user="tb-nobody-here")))
    assert error.message == "there is no user tb-nobody-here to run true as"


def test_a_pipe_returns_what_its_end_printed() -> None:
    assert pipe(Program(("printf", "b\na\n")), Program(("sort",))) == "a\nb\n"


def test_a_pipe_fails_when_its_writer_fails() -> None:
    error = failure(lambda: pipe(shell("echo a; echo lost >&2; exit 4"), Program(("cat",))))
    assert error.message == "sh failed (exit status 4): lost"


def test_a_writer_that_died_of_its_reader_is_not_blamed() -> None:
    error = failure(lambda: pipe(Program(("yes",)), shell("echo full >&2; exit 5")))
    assert error.message == "sh failed (exit status 5): full"


def test_a_pipe_names_both_when_both_failed() -> None:
    error = failure(lambda: pipe(shell("exit 4"), shell("cat; exit 5")))
    assert error.message == "sh failed (exit status 4); sh failed (exit status 5)"


def test_a_stream_is_read_while_the_program_prints() -> None:
    with stream(shell("echo first; read never; echo last")) as readable:
        assert readable.readline() == b"first\n"
        assert readable.read() == b"last\n"


def test_a_stream_cut_short_is_an_error_not_an_end() -> None:
    with stream(shell("echo half; echo broken >&2; exit 2")) as readable:
        assert readable.readline() == b"half\n"
        error = failure(lambda: readable.read(1))
    assert error.message == "sh failed (exit status 2): broken"


def test_a_stream_whose_program_was_killed_is_an_error() -> None:
    with stream(shell("echo half; kill -9 $$")) as readable:
        assert "SIGKILL" in str(failure(readable.read))


@pytest.mark.parametrize("number", ["PIPE", "TERM"])
def test_a_lone_program_that_died_of_a_signal_has_failed(number: str) -> None:
    """Nobody else is to blame: it had no reader whose failure closed its pipe."""
    assert f"SIG{number}" in str(failure(lambda: run(shell(f"kill -{number} $$"))))
    with stream(shell(f"echo half; kill -{number} $$")) as readable:
        assert f"SIG{number}" in str(failure(readable.read))


def test_a_stream_that_is_left_early_ends_its_program(tmp_path: Path) -> None:
    with stream(shell("echo $$; exec sleep 600")) as readable:
        pid = int(readable.readline())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("three_backup.command.child.GRACE", 0.2)
    with stream(shell("trap '' TERM; echo $$; while :; do sleep 0.05; done")) as readable:
        pid = int(readable.readline())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_joined_programs_are_a_pipeline_whose_statuses_are_all_known() -> None:
    programs = [shell("echo a; exit 3"), shell("cat; kill -9 $$"), Program(("tr", "a", "b"))]
    with joined(programs) as pipeline:
        assert pipeline.output.read() == b"b\n"
        assert pipeline.statuses() == [3, -signal.SIGKILL, 0]


def test_joined_programs_inherit_descriptors() -> None:
    reading, writing = os.pipe()
    with joined([shell(f"echo here > /proc/self/fd/{writing}")], inherited=(writing,)) as pipeline:
        assert pipeline.statuses() == [0]
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "here\n"


def test_a_pipeline_that_cannot_be_started_leaves_nothing_running() -> None:
    def start() -> None:
        with joined([Program(("sleep", "600")), Program(("tb-no-such-program",))]):
            pytest.fail("it was started")

    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    assert failure(start).code == "command.missing"
    assert children.read_text() == before


def test_a_second_stage_hears_that_its_reader_is_gone() -> None:
    with joined([Program(("yes",)), Program(("head", "-1"))]) as pipeline:
        assert pipeline.output.read() == b"y\n"
        assert pipeline.statuses() == [-signal.SIGPIPE, 0]


def test_programs_end_with_us_on_an_interrupt(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from three_backup.command import Program, run\n"
        "try: run(Program(('sh', '-c', 'echo $$ >&2; exec sleep 600')))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    script = script.replace(">&2", f"> {fifo}")
    with subprocess.Popen(
        (sys.executable, "-c", script), stdout=subprocess.PIPE, text=True
    ) as owner:
        pid = int(fifo.read_text())
        owner.send_signal(signal.SIGINT)
        assert owner.communicate()[0] == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_fed_reaches_the_program_whole(tmp_path: Path) -> None:
    written = tmp_path / "written"
    feed(Program(("tee", str(written))), [b"ab", b"", b"c" * 1_000])
    assert written.read_bytes() == b"ab" + b"c" * 1_000


def test_who_is_fed_and_fails_says_why() -> None:
    endless = iter(lambda: b"x" * 100_000, b"")
    with pytest.raises(BackupError, match=r"sh failed \(exit status 3\): it is full"):
        feed(shell("echo it is full >&2; exit 3"), endless)


def test_what_is_cut_short_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    def torn() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the other half is gone")

    whole = tmp_path / "whole"
    with pytest.raises(OSError, match="the other half is gone"):
        feed(shell(f"cat > /dev/null && touch {whole}"), torn())
    assert not whole.exists()
