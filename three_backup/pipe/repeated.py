"""Says each sentence of quiet runs once until it changes, and everything where a run fails.

The stages of a quiet run find the path of a file in their environment. Each appends to it whatever
it says, and holds back from standard error what the runs before said as well. Where the run fails,
tb-run says what was held back; where it was killed, the next quiet run does.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Self

from three_backup.errors import Exit, readable
from three_backup.host.durable import write_durably

VARIABLE = "THREE_BACKUP_SAID"
_SAID, _KNOWN = "said.ndjson", "said.json"
_VERSION = 1
_MOST_SELECTIONS = 20
_MOST_SENTENCES = 1000
"""Of one selection; what goes beyond is said by every run."""

Selections = Mapping[str, Sequence[str]]
"""What the last run of each selection said; that of a run without --select is empty."""


@dataclass(slots=True)
class Repeated:
    """What a tool says in a quiet run."""

    path: Path | None = None  # where it is written down; None: no quiet run, nothing is held back
    known: frozenset[str] = field(default_factory=frozenset)  # what the runs before said

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return that of a stage with this environment."""
        path = environ.get(VARIABLE)
        return cls.at(Path(path)) if path else cls()

    @classmethod
    def at(cls, path: Path) -> Self:
        return cls(path, frozenset(chain.from_iterable(_known(path).values())))

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which stages hold back the same."""
        return {} if self.path is None else {VARIABLE: str(self.path)}

    def holds(self, line: str) -> bool:
        """Write the line down; return whether to hold it back. What cannot be written is said."""
        if self.path is None:
            return False
        held = readable(line) in self.known
        return _append(self.path, readable(line), held=held) and held


@dataclass(slots=True)
class QuietRun:
    """A run that holds back what the runs before said."""

    repeated: Repeated
    status: Exit | None = None  # None: it has not ended, or by a signal


@contextmanager
def quiet(
    local_dir: Path, patterns: Sequence[str], say: Callable[[str], None]
) -> Iterator[QuietRun]:
    """Hold back in the block what the runs before said; after it, say that if the run failed.

    The lock of the run must be held. say: prints a line. On a terminal, where somebody looks on,
    nothing is held back.
    """
    if sys.stderr.isatty():
        yield QuietRun(Repeated())
        return
    path = local_dir / _SAID
    _say_held(path, say)  # if the run before was killed
    with suppress(OSError):  # then nothing is written there, and all is said
        path.unlink(missing_ok=True)
    running = QuietRun(Repeated.at(path))
    try:
        yield running
    finally:
        running.repeated.path = None
        failed = running.status is not Exit.OK
        if failed:
            _say_held(path, say)
        try:
            _remember(path, " ".join(sorted(patterns)), failed=failed)
            path.unlink(missing_ok=True)
        except OSError as error:
            say(f"{path}: what was said is not remembered ({error.strerror}), and is said again")


def _append(path: Path, line: str, *, held: bool) -> bool:
    """Append the line; return whether that succeeded."""
    # The newline in front parts it from an entry that was cut short on a full disk.
    entry = b"\n" + json.dumps({"line": line, "held": held}).encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            return os.write(descriptor, entry) == len(entry)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def _said(path: Path) -> Mapping[str, bool]:
    """Return what was said since the run began, and whether it was held back."""
    said: dict[str, bool] = {}
    try:
        entries = path.read_bytes().splitlines()
    except OSError:
        return said
    for entry in entries:
        try:
            fields = json.loads(entry)
            line, held = str(fields["line"]), bool(fields["held"])
        except (ValueError, KeyError, TypeError):
            continue
        said[line] = said.get(line, True) and held
    return said


def _say_held(path: Path, say: Callable[[str], None]) -> None:
    for line, held in _said(path).items():
        if held:
            say(line)


def _known(path: Path) -> Selections:
    """Return what the runs before said; nothing if that is unknown, for it is dispensable."""
    try:
        fields = json.loads(path.with_name(_KNOWN).read_bytes())
        if fields["v"] != _VERSION:
            return {}
        return {str(name): tuple(map(str, said)) for name, said in fields["said"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember(path: Path, selection: str, *, failed: bool) -> None:
    """Remember what the run said; a run of everything replaces what runs of parts said.

    A failed run may not have come to all that it would have said.
    """
    said, before = tuple(_said(path)), _known(path)
    others = {name: lines for name, lines in before.items() if name != selection}
    if failed:
        said = tuple(dict.fromkeys((*said, *before.get(selection, ()))))
    elif not selection:
        others = {}
    parts = list(others.items())[-(_MOST_SELECTIONS - 1) :]
    after = {**dict(parts), selection: said[:_MOST_SENTENCES]}
    if after != before:
        body = json.dumps({"v": _VERSION, "said": after}).encode()
        write_durably(path.with_name(_KNOWN), body + b"\n")
