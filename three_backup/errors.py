"""The errors: each has a code for programs, a sentence and a remedy for people."""

import re
from enum import IntEnum

_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Exit(IntEnum):
    """The exit statuses of every tool."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 69
    BUSY = 75
    CONFIGURATION = 78
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


class BackupError(Exception):
    """A failure that a person has to read."""

    status = Exit.FAILED

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        message, hint = readable(message), readable(hint)
        super().__init__(code, message, hint)
        self.code = code  # dotted and stable, for programs (`s3.denied`)
        self.message = message  # one sentence, the object first
        self.hint = hint  # the remedy; may be empty

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BrokenChainError(BackupError):
    """A snapshot cannot be restored, because one that it builds on is gone."""


class ManifestError(BackupError):
    """A manifest cannot be read, or says what cannot be."""


class NothingFoundError(BackupError):
    """Nothing has the name, or nothing matches the selector, of all that could be looked at."""


class UsageError(BackupError):
    """The command line cannot be understood."""

    status = Exit.USAGE


class ConfigurationError(BackupError):
    """The configuration cannot be used as it stands."""

    status = Exit.CONFIGURATION


class UnreachableError(BackupError):
    """A server does not answer."""

    status = Exit.UNREACHABLE


class SilentError(BackupError):
    """A server, or a program that speaks to one, showed no sign of life for too long."""


class BusyError(BackupError):
    """Another process holds the lock."""

    status = Exit.BUSY


def readable(text: str) -> str:
    """Return text for people and records: a byte that is not UTF-8 is written as in ids, `%E9`.

    Inside the program such a byte is a lone surrogate (`surrogateescape`).
    """
    return _NOT_UTF8.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


_REFUSALS = frozenset(
    {
        "s3.account",
        "s3.clock",
        "s3.denied",
        "s3.moved",
        "s3.no_bucket",
        "s3.proxy",
        "s3.region",
        "s3.signature",
        "s3.token",
    }
)
"""Codes of refusals that every request would meet; see `s3.meanings`."""


def s3_is_away(error: BackupError) -> bool:
    """Whether S3 is configured but unusable at present: no answer, or every request is refused.

    False for a mistake in the configuration and for one damaged key.
    """
    if isinstance(error, ConfigurationError):
        return False
    return isinstance(error, UnreachableError) or error.code in _REFUSALS
