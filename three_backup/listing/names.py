"""Formats the names of a tree of files as a person reads them, as `ls -l` does."""

import json
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo

from three_backup.model.objects import readable_path
from three_backup.screen.formats import size

_LETTERS = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}
_OWNERS, _SIZE = 11, 7
"""Widths of columns: what is wider moves the rest of its line."""


def for_people(lines: Iterable[bytes], zone: tzinfo) -> Iterator[str]:
    """Yield a line of text for each line of JSON that a source writes of a name."""
    for line in lines:
        name = json.loads(line)
        mode = stat.filemode(_LETTERS[name["type"]] | int(name["mode"], 8))
        owners = f"{name['uid']}:{name['gid']}".ljust(_OWNERS)
        count = name.get("device") or (size(name["size"]) if name["type"] == "file" else "")
        time = datetime.fromisoformat(name["mtime"]).astimezone(zone)
        target = f" -> {readable_path(name['target'])}" if "target" in name else ""
        path = readable_path(name["path"])
        yield f"{mode}  {owners}  {count:>{_SIZE}}  {time:%Y-%m-%d %H:%M}  {path}{target}"
