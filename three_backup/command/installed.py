"""The tools that are installed beside the one that runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from three_backup.errors import BackupError


def folder_of(tools: Sequence[str]) -> Path:
    """Return the folder of the tool that was started; the others must lie beside it."""
    folder = Path(sys.argv[0]).resolve().parent
    missing = [name for name in tools if not (folder / name).is_file()]
    if missing:
        raise BackupError(
            "run.installation", f"{folder / missing[0]} is missing", "install three_backup again"
        )
    return folder
