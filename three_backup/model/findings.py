"""The findings of a check of a server: what works, what does not, and the remedy."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from three_backup.errors import BackupError


class Mark(StrEnum):
    GOOD = "good"
    NOTE = "note"  # backups work, but less well, or there is something to know
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a check."""

    mark: Mark
    subject: str  # a word or two
    sentence: str  # what was seen
    remedy: str = ""  # the option, statement or command that changes it
    cure: tuple[str, str] | None = None  # an option and the value with which it was tried to work


def good(subject: str, sentence: str) -> Finding:
    return Finding(Mark.GOOD, subject, sentence)


def note(subject: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(Mark.NOTE, subject, sentence, remedy)


def bad(subject: str, error: BackupError) -> Finding:
    return Finding(Mark.BAD, subject, error.message, error.hint)


def tried(subject: str, act: Callable[[], str]) -> Finding:
    """Return a finding of what act says of its success, or of the BackupError it raises."""
    try:
        return good(subject, act())
    except BackupError as error:
        return bad(subject, error)
