"""What tb-init refuses before it has tried anything, and what starts its runs later."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from three_backup.beginning import timer
from three_backup.beginning.files import Files
from three_backup.errors import BackupError, ConfigurationError

TOOL = Path(__file__).parents[2] / "bin" / "tb-init"
GIVEN = ("--endpoint", "s3.example.com", "--bucket", "backups")
_SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"{log}"
[ "$1" != cat ] || {answer}
"""


def run(
    folder: Path, *words: str, stdin: str = "", **environ: str
) -> "subprocess.CompletedProcess[str]":
    given = {"PATH": str(folder), "HOME": str(folder), "PYTHONPATH": str(TOOL.parents[1])}
    config = folder / "three_backup.yaml"
    return subprocess.run(
        (sys.executable, TOOL, "-c", config, *words),
        input=stdin,
        env={**given, **environ},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "environ", "missing"),
    [
        ((), {}, "--endpoint, --bucket and --keys-from"),
        (GIVEN, {}, "--keys-from"),
        (GIVEN[2:], {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "--endpoint"),
        (
            GIVEN,
            {
                "AWS_ACCESS_KEY_ID": "temporary",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_SESSION_TOKEN": "for an hour",
            },
            "--keys-from",
        ),
    ],
)
def test_without_a_terminal_it_names_the_options_that_are_missing(
    tmp_path: Path, words: tuple[str, ...], environ: Mapping[str, str], missing: str
) -> None:
    done = run(tmp_path, *words, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"tb-init: nobody can be asked without a terminal; give {missing}\n")


@pytest.mark.parametrize(
    ("words", "stdin", "status", "said"),
    [
        (("--bucket", "a/b"), "", 2, "--bucket: 'a/b' is not the name of a bucket"),
        (("--endpoint", "ftp://x"), "", 2, "--endpoint: 'ftp://x' is not the address"),
        (("--keys-from", "-"), "only one\n", 78, "standard input: there are not two lines"),
        (("--keys-from", "gone"), "", 1, "gone: no such file or directory"),
        (("-s", "mysql", *GIVEN, "--keys-from", "-"), "a\nb\n", 2, "'mysql' is no source"),
        (("-s", "lxd", *GIVEN, "--keys-from", "-"), "a\nb\n", 2, "lxd: lxc or /snap/bin/lxc is"),
    ],
)
def test_a_bad_option_is_told_by_its_name(
    tmp_path: Path, words: tuple[str, ...], stdin: str, status: int, said: str
) -> None:
    done = run(tmp_path, *words, stdin=stdin)
    assert done.returncode == status
    assert done.stderr.startswith(f"tb-init: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_in_no_message(tmp_path: Path) -> None:
    done = run(tmp_path, *GIVEN, "--keys-from", "-", stdin="hush one two\nhush\nhush\n")
    assert "hush" not in done.stderr + done.stdout


def test_files_are_made_all_or_none(tmp_path: Path) -> None:
    files = Files(tmp_path / "three_backup.yaml")
    files.configuration.write_text("made meanwhile")
    with pytest.raises(ConfigurationError, match="somebody made it meanwhile"):
        files.write({files.key: "key", files.environment: "env", files.configuration: "ours"})
    assert [path.name for path in tmp_path.iterdir()] == ["three_backup.yaml"]
    assert files.configuration.read_text() == "made meanwhile"


def test_root_makes_no_configuration_that_another_one_hides(tmp_path: Path) -> None:
    hiding = tmp_path / ".config" / "three_backup.yaml"
    hiding.parent.mkdir()
    hiding.write_text("")
    with pytest.raises(ConfigurationError, match="a configuration is there already"):
        Files.of(None, {"HOME": str(tmp_path)}, 0)


def test_a_link_that_leads_nowhere_is_not_written_through(tmp_path: Path) -> None:
    link = tmp_path / "three_backup.yaml"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="a configuration is there already"):
        Files.of(link, {}, 1000)


def systemd(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> Path:
    """Put a systemctl on PATH that logs what it is asked."""
    log, program = folder / "asked", folder / "systemctl"
    program.write_text(_SYSTEMCTL.format(log=log, answer=answer))
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_the_timer_is_started_where_systemd_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = systemd(tmp_path, monkeypatch, "exit 0")
    assert timer.has_timer()
    timer.enable()
    assert log.read_text() == "cat three_backup.timer\nenable --now three_backup.timer\n"


def test_without_a_timer_there_is_a_line_for_the_crontab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd(tmp_path, monkeypatch, "exit 1")
    assert not timer.has_timer()
    monkeypatch.setattr(sys, "argv", [str(TOOL)])
    assert timer.crontab_line(None) == f"17 * * * *  {TOOL.with_name('tb-run')} -q"
    (tmp_path / "tb-run").symlink_to(TOOL.with_name("tb-run"))
    line = timer.crontab_line(Path("/srv/50 %/three_backup.yaml"))
    assert line == rf"17 * * * *  {tmp_path}/tb-run -q -c '/srv/50 \%/three_backup.yaml'"


def test_a_systemd_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd(tmp_path, monkeypatch, "exit 0")
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho Access denied >&2\nexit 4\n")
    with pytest.raises(BackupError, match=r"three_backup\.timer: .*Access denied"):
        timer.enable()
