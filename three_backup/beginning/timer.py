"""What starts the runs: the timer of systemd, or a line of a crontab."""

import sys
from pathlib import Path
from shlex import quote
from shutil import which

from three_backup.command import Program, run
from three_backup.errors import BackupError

TIMER = "three_backup.timer"
_SECONDS = 60.0
_CODE = "init.timer"


def has_timer() -> bool:
    """Whether systemd runs here and knows the timer that packages install."""
    try:
        _systemctl("cat", TIMER)
    except BackupError:
        return False
    return True


def enable() -> None:
    """Start the timer, now and at every boot. Raises BackupError."""
    _systemctl("enable", "--now", TIMER)


def crontab_line(configuration: Path | None) -> str:
    """Return the line that runs backups every hour. configuration: None where all find it."""
    beside, found = Path(sys.argv[0]).resolve().with_name("tb-run"), which("tb-run")
    is_same = found is not None and Path(found).resolve() == beside  # a shorter name of it
    words = [str(found) if is_same else str(beside), "-q"]
    if configuration is not None:
        words += ["-c", str(configuration)]
    command = " ".join(map(quote, words)).replace("%", r"\%")  # which ends a line of a crontab
    return f"17 * * * *  {command}"


def _systemctl(*words: str) -> str:
    return run(Program(("systemctl", *words), code=_CODE, what=TIMER, timeout=_SECONDS))
