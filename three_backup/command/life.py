"""Signs of life of programs that move no bytes through us, for `Program.life`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from three_backup.host.patience import Pulse

_TIMES = slice(11, 13)  # fields 14 and 15 of /proc/PID/stat, counted from field 3


def own_work(process: int) -> Pulse | None:
    """Tell how much a program has computed, read and written by itself."""
    folder = Path("/proc", str(process))
    with suppress(OSError):
        times = (folder / "stat").read_text().rpartition(")")[2].split()[_TIMES]
        moved = ""
        with suppress(PermissionError):  # it runs as somebody else
            moved = (folder / "io").read_text()
        return Pulse((*times, moved))
    return None


def growth(path: Path) -> Callable[[int], Pulse | None]:
    """Return what tells how large a file is, such as the log of a server that starts."""
    return lambda _process: Pulse(path.stat().st_size if path.exists() else 0)
