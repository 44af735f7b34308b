"""The knowledge of one run that a store is away, shared by all of its processes.

Else every stage of a run would wait for the same store, one after the other. It is a file beside
the lock of the run, named after the endpoint; tb-run removes what an earlier run left.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from three_backup.host.places import HEARTBEAT

_SUFFIX = ".away"


class Away:
    """Whether another process of this run has given up on the store."""

    def __init__(self, path: Path | None) -> None:
        self._path = path  # None: no process shares our run
        self._answered = 0.0

    @classmethod
    def of(cls, endpoint: str | None, environ: Mapping[str, str]) -> Self:
        run = environ.get(HEARTBEAT)
        name = hashlib.sha256((endpoint or "").encode()).hexdigest()[:16]
        return cls(Path(f"{run}.{name}{_SUFFIX}") if run else None)

    def known(self, now: float) -> bool:
        """Return whether it was given up since it last answered us. now: by the wall clock."""
        if self._path is None:
            return False
        try:
            return self._answered < self._path.stat().st_mtime <= now
        except OSError:
            return False

    def give_up(self) -> None:
        if self._path is not None:
            with suppress(OSError):  # the others wait for themselves
                self._path.touch()

    def answered(self, now: float) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        self._answered = now


def forget(run: Path) -> None:
    """Forget what an earlier run knew. run: the file that HEARTBEAT names."""
    for path in run.parent.glob(f"{run.name}.*{_SUFFIX}"):
        path.unlink(missing_ok=True)
