"""An account of what was read from another copy, because one lacks it or has it damaged."""

from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

FIRST = "s3"
"""The name of the store that holds the snapshots themselves."""


class Mended:
    """The account of one tool. Threads may share it."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        """say: called with a sentence for each file and each store that stands in for another."""
        self._say = say
        self._noting = Lock()
        self._told: set[tuple[str, str]] = set()
        self._bytes = Counter[str]()

    @property
    def bytes(self) -> Mapping[str, int]:
        """Bytes that came from other copies so far, by the name of the store."""
        with self._noting:
            return dict(self._bytes)

    def counted(self) -> Callable[[], Mapping[str, Any]]:
        """Return a call that gives the field of a record for what came since it was last called.

        Empty where nothing did.
        """
        before = Counter(self.bytes)

        def since() -> Mapping[str, Any]:
            now = Counter(self.bytes)
            found = now - before
            before.update(found)
            return {"mended": dict(found)} if found else {}

        return since

    def note(self, what: str, why: str, store: str, size: int) -> None:
        """Count bytes of a file that came out of a store. why: a sentence on the other copy."""
        with self._noting:
            self._bytes[store] += size
            new = (what, store) not in self._told
            self._told.add((what, store))
        if new:
            self._say(f"{why}; what is wanted of it comes from {called(store)}")


def called(store: str) -> str:
    """Return what a sentence calls a store."""
    return "S3" if store in ("", FIRST) else f"store {store}"
