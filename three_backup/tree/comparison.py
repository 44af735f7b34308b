"""Compares two trees name by name, and reads a file only where nothing else can tell.

A file that was received as a part of a later snapshot keeps its inode and the time of its last
change. If both are the same the file is: nobody sets that time. Else its attributes are read, and
its content if it is as long as the other one and as old.
"""

import csv
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from three_backup.tree.attributes import attributes
from three_backup.tree.listing import described
from three_backup.tree.names import plain
from three_backup.tree.request import Change, Owners
from three_backup.tree.walk import Entry

COLUMNS = ("path", "type", "mode", "uid", "gid", "size", "mtime", "target", "differs")
_PIECE = 1 << 20


@dataclass(slots=True)
class Side:
    """A tree that is walked along."""

    entries: Iterator[Entry]  # in the order of their names
    owners: Owners
    _next: Entry | None = field(init=False)

    def __post_init__(self) -> None:
        self._next = next(self.entries, None)

    @property
    def entry(self) -> Entry | None:
        """What comes next; None at the end."""
        return self._next

    def step(self) -> None:
        self._next = next(self.entries, None)

    def line(self, change: Change, entry: Entry, differs: str = "") -> bytes:
        fields = {**described(entry, self.owners), "path": entry.path, "differs": differs}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([plain(str(fields.get(name, ""))) for name in COLUMNS])
        return (change + text.getvalue()).encode()


def changes(earlier: Side, later: Side) -> Iterator[bytes]:
    """Yield a line for what only one side has, two for what differs. Each begins with a Change."""
    while earlier.entry is not None or later.entry is not None:
        then, now = _key(earlier.entry), _key(later.entry)
        if earlier.entry is not None and (now is None or (then is not None and then < now)):
            yield earlier.line(Change.REMOVED, earlier.entry)
            earlier.step()
        elif later.entry is not None and (then is None or (now is not None and now < then)):
            yield later.line(Change.ADDED, later.entry)
            later.step()
        elif earlier.entry is not None and later.entry is not None:
            if differs := " ".join(_differing(earlier, earlier.entry, later, later.entry)):
                yield earlier.line(Change.BEFORE, earlier.entry, differs)
                yield later.line(Change.AFTER, later.entry, differs)
            earlier.step()
            later.step()


def _key(entry: Entry | None) -> tuple[str, ...] | None:
    """Return what entries are ordered by in a walk."""
    if entry is None:
        return None
    return () if entry.path == "." else tuple(entry.path.split("/"))


def _differing(earlier: Side, then: Entry, later: Side, now: Entry) -> list[str]:
    """Return in what an entry differs; nothing if it is the same."""
    one, other = described(then, earlier.owners), described(now, later.owners)
    if then.is_folder and now.is_folder:  # the names in it tell why its time changed
        other["mtime"] = one["mtime"]
    elif _nanoseconds(then) != _nanoseconds(now):
        one["mtime"], other["mtime"] = _nanoseconds(then), _nanoseconds(now)
    found = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    order = [name for name in (*COLUMNS, "device") if name in found]
    if "type" in found or _is_same(then, now):
        return order
    if dict(attributes(then, earlier.owners)) != dict(attributes(now, later.owners)):
        order.append("attributes")
    if not order and stat.S_ISREG(now.status.st_mode) and not _same_content(then, now):
        order.append("content")
    return order


def _nanoseconds(entry: Entry) -> int:
    return entry.status.st_mtime_ns


def _is_same(then: Entry, now: Entry) -> bool:
    """Return whether the file was not touched between."""
    one, other = then.status, now.status
    return (one.st_ino, one.st_ctime_ns) == (other.st_ino, other.st_ctime_ns)


def _same_content(then: Entry, now: Entry) -> bool:
    """Compare the bytes of two files of the same size."""
    with os.fdopen(then.opened(), "rb", _PIECE) as one, os.fdopen(now.opened(), "rb") as other:
        while piece := one.read(_PIECE):
            if piece != other.read(_PIECE):
                return False
    return True
