"""Completion in bash, zsh and fish themselves."""

import os
import pty
import re
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.completion.conftest import BASE, NEXT, TABLES, WEB, Needed
from tests.completions import COMMANDS, FOLDER, options

_BASH = """
. {folder}/{tool}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
{function}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
_PATIENCE = 30
"""Seconds for a shell to show what it was asked for."""


def bash(environ: dict[str, str], *words: str) -> list[str]:
    """Return the words that bash offers for the last one; the words are as somebody types them."""
    tool = words[0]
    script = _BASH.format(
        folder=FOLDER / "bash",
        tool=tool,
        words=" ".join(map(shlex.quote, words)),
        function=f"_{tool.replace('-', '_')}",
    )
    done = subprocess.run(
        ("bash", "--norc", "-c", script), env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def fish(environ: dict[str, str], program: str, line: str) -> list[str]:
    """Return the words that fish offers for the end of a line, without their descriptions."""
    files = " ".join(str(path) for path in sorted((FOLDER / "fish").iterdir()))
    script = f"for f in {files}; source $f; end; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        (program, "--no-config", "-c", script),
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [found.partition("\t")[0] for found in done.stdout.splitlines()]


def zsh(environ: dict[str, str], program: str, line: str, expected: str) -> str:
    """Type a line and a tab; return what the terminal shows once that is there."""
    place = FOLDER / "zsh"
    startup = f"fpath=({place} $fpath); autoload -Uz compinit; compinit -u -D; print ready"
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        (program, "-f", "-i"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "vt100", "PS1": "> "},
        start_new_session=True,
    )
    try:
        os.write(ours, f"{startup}\n".encode())
        _read(ours, "\r\nready")
        os.write(ours, f"{line}\t\t".encode())
        return _read(ours, expected)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def _read(terminal: int, expected: str) -> str:
    """Return what the terminal shows until it has shown the expected text."""
    shown, until = b"", time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00\x08\x0f]", "", shown.decode(errors="replace"))
        if expected in text:
            return text
    pytest.fail(f"{expected!r} is not in what zsh shows: {shown!r}")


@pytest.mark.parametrize("command", COMMANDS)
def test_bash_and_fish_offer_the_options_of_the_usage_text(
    environ: dict[str, str], needed: Needed, command: str
) -> None:
    known = {option.long for option in options(command)}
    assert {word for word in bash(environ, command, "--") if word.startswith("--")} == known
    assert set(fish(environ, needed("fish"), f"{command} --")) == known


def test_bash_completes_ids_level_by_level(environ: dict[str, str]) -> None:
    assert bash(environ, "tb-list", "--history", "") == ["clickhouse/", "lxd/", "postgres/"]
    assert bash(environ, "tb-list", "--find", "l") == []
    assert bash(environ, "tb-run", "-s", "postgres/v") == [TABLES[3]]
    assert bash(environ, "tb-restore", "--overwrite", "l") == [WEB]
    assert bash(environ, "tb-restore", "orders") == [TABLES[1]]
    assert bash(environ, "tb-list", "--history", "=", "l") == [WEB]
    assert bash(environ, "tb-discover", "l") == []


def test_bash_quotes_what_needs_it(environ: dict[str, str]) -> None:
    typed = "postgres/table/shop/public/order"
    assert bash(environ, "tb-verify", typed) == [TABLES[0].replace(" ", "\\ "), TABLES[1]]
    assert bash(environ, "tb-verify", f"'{typed}") == list(TABLES[:2])
    assert bash(environ, "tb-verify", "postgres/table/shop/public/зак") == [TABLES[2]]


def test_bash_completes_snapshots_and_words(environ: dict[str, str]) -> None:
    assert bash(environ, "tb-restore", TABLES[1], "--snapshot", "") == [str(NEXT), str(BASE)]
    assert bash(environ, "tb-restore", "--snapshot", "20261101") == [str(BASE)]
    assert bash(environ, "tb-keep", WEB, "") == [str(BASE)]
    assert bash(environ, "tb-run", "--if-running", "w") == ["wait"]
    assert bash(environ, "tb-wal", "p") == ["pull", "push"]


def test_bash_offers_nothing_where_the_tool_is_missing(environ: dict[str, str]) -> None:
    assert bash({**environ, "PATH": "/usr/bin:/bin"}, "tb-list", "--history", "l") == []


def test_fish_completes_ids_snapshots_and_words(environ: dict[str, str], needed: Needed) -> None:
    program = needed("fish")
    assert fish(environ, program, "tb-list --history l") == [WEB]
    assert fish(environ, program, "tb-restore postgres/t") == list(TABLES[:3])
    assert fish(environ, program, "tb-restore orders") == [TABLES[1]]
    assert fish(environ, program, f"tb-restore {WEB} --snapshot ") == [str(BASE)]
    assert fish(environ, program, f"tb-keep {TABLES[1]} 2026") == [str(NEXT), str(BASE)]
    assert fish(environ, program, "tb-run --if-running w") == ["wait"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tb-list --history l", f"tb-list --history {WEB}"),
        ("tb-restore orders", TABLES[1]),
        ("tb-restore postgres/table/shop/public/order\\ ", TABLES[0].replace(" ", "\\ ")),
        ("tb-keep lxd/container/default/default/web 2", f"web {BASE}"),
        ("tb-run --if-running w", "tb-run --if-running wait"),
        ("tb-list --hist", "tb-list --history"),
        ("tb-verify --", "--oldest-first"),
    ],
)
def test_zsh_completes_what_was_typed(
    environ: dict[str, str], needed: Needed, line: str, expected: str
) -> None:
    assert expected in zsh(environ, needed("zsh"), line, expected)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_read_without_a_complaint(needed: Needed, shell: str) -> None:
    program = needed(shell)
    for path in sorted((FOLDER / shell).iterdir()):
        done = subprocess.run((program, "-n", path), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), path


def test_they_are_installed_where_the_shells_look() -> None:
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text()
    for shell, place in (
        ("bash", "share/bash-completion/completions"),
        ("fish", "share/fish/vendor_completions.d"),
        ("zsh", "share/zsh/site-functions"),
    ):
        assert f"{place} = three_backup/completion/{shell}/*\n" in setup
