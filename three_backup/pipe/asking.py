"""Asks a person at the terminal: questions on standard error, answers from standard input."""

import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from three_backup.errors import UsageError
from three_backup.pipe.speech import prompt
from three_backup.screen.terminal import is_terminal

_YES: Mapping[str, bool] = {"y": True, "yes": True, "n": False, "no": False}
_ECHO = 3
"""The place of the local modes in what termios tells."""


def can_ask() -> bool:
    """Whether somebody may be there to answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def ask(question: str, default: str = "") -> str:
    """Return the answer without blanks around it; an empty one is the default."""
    prompt(f"{question} [{default}]: " if default else f"{question}: ")
    return _line() or default


def ask_secret(question: str) -> str:
    """Return an answer that the terminal does not show."""
    with _unseen():  # before the question: an answer may come at once
        prompt(f"{question} (not shown): ")
        return _line()


def agree(question: str, *, default: bool) -> bool:
    """Return whether the answer is yes."""
    while True:
        prompt(f"{question} [{'Y/n' if default else 'y/N'}] ")
        answer = _line().lower()
        if not answer:
            return default
        if answer in _YES:
            return _YES[answer]


def _line() -> str:
    # What is not UTF-8 cannot be meant, and is refused by whom it is for.
    line = sys.stdin.buffer.readline().decode("utf-8", "replace")
    if not line:
        prompt("\n")
        raise UsageError("input.ended", "the question was not answered", "see --help")
    return line.strip()


@contextmanager
def _unseen() -> Iterator[None]:
    """Let the terminal show nothing of what is typed; after a signal it shows all again."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = termios.tcgetattr(terminal)
    silent[_ECHO] &= ~termios.ECHO
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        prompt("\n")
