"""What a look at a server found: what works, what does not, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from three_backup.errors import BackupError


class Mark(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """NOTE: backups work, but less well, or something is to be known. subject: a word or two;
    sentence: what was seen; remedy: the option, statement or command that changes it."""

    mark: Mark
    subject: str
    sentence: str
    remedy: str = ""


def good(subject: str, sentence: str) -> Finding:
    return Finding(Mark.GOOD, subject, sentence)


def note(subject: str, sentence: str, remedy: str = "") -> Finding:
    return Finding(Mark.NOTE, subject, sentence, remedy)


def bad(subject: str, error: BackupError) -> Finding:
    return Finding(Mark.BAD, subject, error.message, error.hint)


def tried(subject: str, act: Callable[[], str]) -> Finding:
    """What act says of its success, or its failure."""
    try:
        return good(subject, act())
    except BackupError as error:
        return bad(subject, error)
