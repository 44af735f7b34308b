"""A fresh Debian, in which the manual's commands are typed as root; Debian 13 has a PostgreSQL.

A root is built once from Debian's packages and kept in the user's cache. Each test session has
a layer of its own on it, in memory, and namespaces in which all that it starts ends with it.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, image
from three_backup import command
from three_backup.errors import BackupError

_PACKAGES = {
    "bookworm": ("ca-certificates", "man-db"),
    "trixie": ("ca-certificates", "cron", "man-db", "postgresql-17", "python3-venv"),
}
_PORT = 5432
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_UNNEEDED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/lib/*/libLLVM*", "*/llvmjit*")
_OURS = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE")
"""Variables by which pip reaches the index from this host."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAYER = """
set -e
mount -t tmpfs -o mode=0755 tmpfs {here}
mkdir {here}/upper {here}/work {here}/root
mount -t overlay -o lowerdir={lower},upperdir={here}/upper,workdir={here}/work overlay {here}/root
mount -t proc proc {here}/root/proc
mount -t tmpfs -o mode=1777 tmpfs {here}/root/dev/shm
echo ready
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Typed:
    """The outcome of a line that was typed."""

    line: str
    status: int
    stdout: str
    stderr: str


class Debian:
    """A running root."""

    def __init__(self, holder: int, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root  # its files, as the processes in it see them: by /proc
        self._holder = holder
        self._environ = environ

    def sh(self, line: str) -> Typed:
        """Run a line of shell as root of the fresh host, without a terminal."""
        namespaces = ("nsenter", f"--target={self._holder}", "--mount", "--pid")
        argv = (*namespaces, "chroot", self._inside, "/bin/bash", "-c", f"cd /root; {line}")
        done = subprocess.run(
            argv,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Typed(line, done.returncode, done.stdout, done.stderr)

    def good(self, line: str) -> str:
        """Run a line that must succeed; return what it printed."""
        typed = self.sh(line)
        assert typed.status == 0, f"{line}\n{typed.stdout}{typed.stderr}"
        return typed.stdout

    @property
    def _inside(self) -> str:
        return str(self.root).removeprefix(f"/proc/{self._holder}/root")


def obstacle() -> str | None:
    """Return why there can be no such root here, with the remedy; None if there can be."""
    if os.geteuid() != 0:
        return "only root can make a root of Debian (run tests/run as root)"
    if shutil.which("mmdebstrap") is None or image.mirror() is None:
        return "its packages cannot be had (run tests/run on Debian)"
    with socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            ours.bind(("127.0.0.1", _PORT))
        except OSError:
            return f"a server of this host has port {_PORT}, which is that of Debian's (stop it)"
    return None


@contextmanager
def debian(folder: Path, suite: str = "trixie") -> Iterator[Debian]:
    """Run a root during the block. folder: an empty one, for its layer."""
    script = _LAYER.format(here=folder, lower=_built(suite))
    apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")
    with subprocess.Popen((*apart, "sh", "-c", script), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise BackupError("lab.debian", "no layer can be mounted on a root of Debian")
            (holder,) = (
                Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            )
            root = Path(f"/proc/{holder}/root{folder}/root")
            yield Debian(int(holder), root, _environ(root))
        finally:
            process.kill()  # and with it, all that was started in there


def _built(suite: str) -> Path:
    """Return the root, built now unless it is there."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    current = {each: f"debian-{each}-{version}" for each in _PACKAGES}
    with cache.alone() as home:
        built = home / current[suite]
        if not built.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=home))
            unfinished.chmod(0o755)
            command.run(_bootstrap(unfinished / "root", suite))
            (unfinished / "root").rename(built)
            unfinished.rmdir()
            for older in home.glob("debian-*"):
                if older.name not in current.values():
                    shutil.rmtree(older)
    return built


def _bootstrap(root: Path, suite: str) -> command.Program:
    packages = _PACKAGES[suite]
    port = f"--customize-hook=chroot $1 pg_conftool 17 main set port {_PORT}"
    return command.Program(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            f"--keyring={_KEYS}",
            f"--include={','.join(packages)}",
            "--aptopt=APT::Install-Recommends false",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _UNNEEDED),
            *([port] if "postgresql-17" in packages else []),
            suite,
            str(root),
            f"deb {image.mirror()} {suite} main",
        ],
        code="lab.build",
    )


def _environ(root: Path) -> dict[str, str]:
    """Return the variables of a shell in there, and let pip reach what it reaches from here."""
    given = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    for name in ("/etc/pip.conf", "/etc/resolv.conf", "/etc/hosts"):
        if Path(name).is_file():
            shutil.copyfile(name, root / name[1:])
    for name, value in given.items():
        if Path(value).is_file():  # certificates of authorities
            shutil.copyfile(value, root / "root" / Path(value).name)
            given[name] = f"/root/{Path(value).name}"
    return {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **given}
