"""Lists a tree: a line of JSON for each name."""

import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime

from three_backup.errors import readable
from three_backup.tree.request import Owners
from three_backup.tree.walk import Entry

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_SIZED = ("file", "symlink")
_DEVICES = ("char", "block")


def lines(entries: Iterator[Entry], owners: Owners, label: str) -> Iterator[bytes]:
    for entry in entries:
        fields = {"id": label, "path": readable(entry.path), **described(entry, owners)}
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        yield line.encode() + b"\n"


def described(entry: Entry, owners: Owners) -> dict[str, object]:
    """Return what a list says of an entry, but for its path."""
    status = entry.status
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    fields: dict[str, object] = {
        "type": kind,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": owners.user(status.st_uid),
        "gid": owners.group(status.st_gid),
        "size": status.st_size if kind in _SIZED else 0,
        "mtime": _time(status.st_mtime_ns),
    }
    if entry.is_link:
        fields["target"] = readable(entry.target)
    if kind in _DEVICES:
        fields["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return fields


def _time(nanoseconds: int) -> str:
    """Format a time as records have it; one that no calendar has, as the nearest that has one."""
    earliest, latest = -62_135_596_800, 253_402_300_799
    seconds = min(max(nanoseconds // 10**9, earliest), latest)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
