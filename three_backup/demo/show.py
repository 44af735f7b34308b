"""The demo's output: numbered steps, the commands a person could type, and what came of them."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from three_backup.errors import BackupError

_GRACE = 30.0
"""Seconds that a tool has for an orderly end."""

Write = Callable[[str], None]

_BOLD, _DIM, _GREEN, _PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[0m"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed on stdout, and how many seconds it took."""

    stdout: str
    seconds: float

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Show:
    """Tells the story on stdout, in colour on a terminal without NO_COLOR."""

    def __init__(self, write: Write, environ: Mapping[str, str]) -> None:
        self._write = write
        self._environ = environ
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def step(self, title: str) -> None:
        self._step += 1
        self._write(f"\n{self._painted(_BOLD, f'{self._step}. {title}')}\n")

    def typed(self, command: str) -> None:
        self._write(f"   {self._painted(_BOLD, '$')} {command}\n")

    def outcome(self, text: str) -> None:
        for line in text.splitlines():
            self._write(f"   {line}\n")

    def aside(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self._write(f"   {self._painted(_DIM, line)}\n")

    def success(self, text: str) -> None:
        self._write(f"   {self._painted(_GREEN, '✓')} {text}\n")

    def run(self, *argv: str) -> Ran:
        """Run a tool, and show the command and its output; raises BackupError where it fails."""
        ran = self.watch(*argv)
        self.aside(ran.stdout)
        return ran

    def watch(self, *argv: str, good: int = 0) -> Ran:
        """Run a tool, and show the command but not what it prints on stdout."""
        self.typed(shlex.join(argv))
        return self.ask(*argv, good=good)

    def ask(self, *argv: str, good: int = 0) -> Ran:
        """Run a tool without showing the command. good: the exit status that it should have."""
        started = time.monotonic()
        with subprocess.Popen(
            argv,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            stdout = _output(process)
        if process.returncode != good:
            self.outcome(stdout)
            raise BackupError(
                "demo.step",
                f"{shlex.join(argv)} ended with status {process.returncode}",
                "what it said stands above",
            )
        return Ran(stdout, time.monotonic() - started)

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._coloured else text


def _output(process: subprocess.Popen[str]) -> str:
    """Return what the tool prints on stdout; end the tool, in order where that is possible."""
    try:
        return process.communicate()[0]
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):  # Ctrl-C reached the tool, too
            process.wait(_GRACE)
        raise
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
