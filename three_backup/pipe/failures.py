"""Failures: those of the operating system, and those of a carrier as a whole."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from three_backup.errors import BackupError

Outcome = TypeVar("Outcome")

_ROOM = "make room there, or name another folder with local_dir or scratch_dir"


@contextmanager
def translated() -> Iterator[None]:
    """Raise a refusal of the operating system inside the block as a BackupError."""
    try:
        yield
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError) -> BackupError:
    """Turn a refusal of the operating system into a sentence for people."""
    what = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    hint = _ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return BackupError(f"os.{type(error).__name__}", f"{where}{what.lower()}", hint)


class Once(Generic[Outcome]):
    """Acts once for all records of a carrier; they share the outcome, a failure, too."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome | BackupError] = {}

    def of(self, key: str, act: Callable[[], Outcome]) -> Outcome:
        if key not in self._outcomes:
            try:
                with translated():
                    self._outcomes[key] = act()
            except BackupError as error:
                self._outcomes[key] = error
        outcome = self._outcomes[key]
        if isinstance(outcome, BackupError):
            raise outcome
        return outcome
