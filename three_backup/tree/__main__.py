"""Answers one request on standard input: mounts what it names, and writes what it wants of it."""

import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack

from three_backup.errors import BackupError
from three_backup.tree.archive import Archive
from three_backup.tree.comparison import Side, changes
from three_backup.tree.listing import lines
from three_backup.tree.mounting import make_room, mounted, opened_folder, seen_from_outside
from three_backup.tree.names import plain
from three_backup.tree.paths import FILE, Found, opened
from three_backup.tree.request import Answer, Kind, Request, What
from three_backup.tree.walk import walked

_PIECE = 1 << 20


def main() -> int:
    request = Request.parse(sys.stdin.buffer.readline())
    try:
        return _answered(request)
    except BrokenPipeError:  # whoever asked has seen enough, or is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answered(request: Request) -> int:
    """Write the answer, and return the exit status. What fails later has no line for it."""
    with ExitStack() as stack:
        try:
            make_room()
            mount = mounted(request.dataset, "tree")
            tree = opened_folder(mount, request.root)
            found = stack.enter_context(opened(tree, request.path))
            kind, pieces = _chosen(stack, request, found)
        except (BackupError, OSError) as error:
            _write(Answer.refused(_explained(error, request.path)).to_line())
            return 0
        folder = seen_from_outside(mount, request.root)
        _write(Answer(kind, folder=str(folder)).to_line())
        sys.stdout.flush()
        try:
            for piece in pieces:
                _write(piece)
        except BrokenPipeError:
            raise
        except (BackupError, OSError) as error:
            sys.stderr.write(f"{_explained(error, request.path)}\n")
            return 1
    sys.stdout.flush()
    return 0


def _chosen(stack: ExitStack, request: Request, found: Found) -> tuple[Kind, Iterator[bytes]]:
    if request.what == What.LIST:
        return Kind.LINES, lines(walked(found), request.owners, request.label)
    if request.what == What.COMPARE:
        later = opened_folder(mounted(request.later, "later"), request.root)
        now = stack.enter_context(opened(later, request.path))
        then = Side(walked(found, whole=True), request.owners)
        return Kind.LINES, changes(then, Side(walked(now, whole=True), request.later_owners))
    if request.what == What.HOLD:
        return Kind.HELD, _held()
    if stat.S_ISDIR(found.status.st_mode):
        return Kind.TAR, Archive(request.owners).pieces(walked(found))
    if stat.S_ISREG(found.status.st_mode):
        return Kind.FILE, _bytes_of(os.open(found.name, FILE, dir_fd=found.folder))
    raise BackupError(
        "no_file",
        f"{found.path} is neither a file nor a folder",
        "--list shows what it is; the tar of its folder holds it",
    )


def _held() -> Iterator[bytes]:
    """Wait until nobody reads standard output any more, or a signal comes."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # only what is always told: errors, and the end
    output.poll()
    yield from ()


def _bytes_of(file: int) -> Iterator[bytes]:
    while piece := os.read(file, _PIECE):
        yield piece


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)


def _explained(error: BackupError | OSError, path: str) -> BackupError:
    """Return the error without what a terminal would obey: names of files are in it."""
    if isinstance(error, BackupError):
        return BackupError(error.code, plain(error.message), plain(error.hint))
    return BackupError("not_read", plain(f"{error.filename or path}: {error.strerror}"))


if __name__ == "__main__":
    raise SystemExit(main())
