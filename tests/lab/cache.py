"""The built image of the lab's machine, kept outside the checkouts and shared by all of them."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import image
from tests.lab.machine import Machine, accelerator

PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
}
"""The programs that the lab needs, with the Debian package of each."""

_HERE = Path(__file__).parent
_MAKERS = ("image.py", "machine.py", "provision.sh", "guest/**/*")


def home() -> Path:
    """Return the folder that holds images between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "three_backup"


def ready() -> Path | None:
    """Return the folder of the image that the present files build, or None if it is not built."""
    folder = home() / _name()
    return folder if folder.exists() else None


def missing_packages() -> list[str]:
    return [package for program, package in PACKAGES.items() if shutil.which(program) is None]


def obstacle() -> str | None:
    """Return why the image cannot be built here, with the remedy; None if it can be."""
    if platform.machine() != "x86_64":
        return "its machine is an x86_64, this one is not"
    if missing := missing_packages():
        return f"programs are missing (apt-get install {' '.join(missing)})"
    if os.geteuid() != 0:
        return "only root can build its disk (run tests/run as root)"
    if shutil.which("apt-get") is None or image.mirror() is None:
        return "its disk is built from Debian's packages (run tests/run on Debian)"
    return None


def build() -> None:
    """Build the image, unless it is built. Remove unfinished images and those of older files."""
    with alone() as folder:
        if ready():
            return
        name = _name()
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
        image.build(unfinished)
        with Machine(unfinished, unfinished) as machine:
            machine.boot()
            machine.ssh("sh -s", (_HERE / "provision.sh").read_bytes())
            machine.save()
        unfinished.rename(folder / name)
        for older in folder.glob("lab-*"):
            if older.name != name:
                shutil.rmtree(older)


@contextmanager
def alone() -> Iterator[Path]:
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for unfinished in folder.glob(".unfinished-*"):
            _remove(unfinished)
        yield folder


def _remove(unfinished: Path) -> None:
    """Remove what a killed build left, but nothing of what it mounted there, such as /dev."""
    subprocess.run(["rm", "-rf", "--one-file-system", unfinished], capture_output=True)


def _name() -> str:
    """Return a name that changes with the files that make the image and with the accelerator."""
    digest = hashlib.sha256(accelerator().encode())
    for path in sorted(path for pattern in _MAKERS for path in _HERE.glob(pattern)):
        if path.is_file():
            digest.update(f"{path.relative_to(_HERE)}\0".encode() + path.read_bytes())
    return f"lab-{digest.hexdigest()[:16]}"
