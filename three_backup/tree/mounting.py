"""Mounts datasets where only this process and its children see them.

ZFS mounts on empty folders only: they lie in a file system in memory, which goes with the mounts.
"""

import os
from pathlib import Path

from three_backup.command import Program, run
from three_backup.tree.paths import FOLDER

_PLACE = Path("/mnt")
_HARMLESS = "nosuid,nodev,noexec"


def make_room() -> None:
    """Make the place where folders to mount on can be made."""
    _mount("tmpfs", f"mode=0700,size=1m,{_HARMLESS}", "tmpfs", _PLACE)


def mounted(dataset: str, name: str) -> Path:
    """Mount a dataset, or a snapshot, on a folder of this name; return the folder."""
    folder = _PLACE / name
    folder.mkdir()
    _mount("zfs", f"ro,{_HARMLESS}", dataset, folder)
    return folder


def opened_folder(mount: Path, root: str) -> int:
    """Return a descriptor of the folder of a mounted dataset that the tree begins with."""
    descriptor = os.open(mount, FOLDER)
    return os.open(root, FOLDER, dir_fd=descriptor) if root else descriptor


def seen_from_outside(mount: Path, root: str) -> Path:
    """Return the path of the tree's folder for whoever is not in this mount namespace."""
    return Path("/proc", str(os.getpid()), "root", mount.relative_to("/"), root)


def _mount(kind: str, options: str, what: str, where: Path) -> None:
    argv = ("mount", "-t", kind, "-o", options, what, str(where))
    run(Program(argv, code="not_mounted", package="mount"))
