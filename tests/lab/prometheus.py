"""Prometheus and its promtool, out of Debian's package: unpacked, so that no service starts."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.lab import cache
from three_backup import command
from three_backup.demo.daemon import LOOPBACK, Account, Daemon, free_ports
from three_backup.errors import BackupError

_PROGRAMS = ("prometheus", "promtool")
_FOLDER = "prometheus"
_SCRAPING = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: node
  metrics_path: /{path}
  static_configs: [{{targets: ["{target}"]}}]
"""


def programs() -> Path | None:
    """Return the folder of the programs, unpacked now unless they are there; None without any."""
    folders = {Path(found).parent for name in _PROGRAMS if (found := shutil.which(name))}
    if len(folders) == 1:
        return folders.pop()
    with cache.alone() as home:
        kept = home / _FOLDER
        if not kept.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=home))
            try:
                _unpack(unfinished)
            except BackupError:
                shutil.rmtree(unfinished)
                return None
            (unfinished / "usr/bin").rename(kept)
            shutil.rmtree(unfinished)
    return kept


def _unpack(folder: Path) -> None:
    fetch = ("apt-get", "download", "-qq", "--option=APT::Sandbox::User=root", "prometheus")
    try:
        _run(folder, *fetch)
    except BackupError:
        _run(folder, "apt-get", "update", "-qq")  # the lists of a fresh machine are empty
        _run(folder, *fetch)
    (package,) = folder.glob("*.deb")
    _run(folder, "dpkg-deb", "--extract", package.name, ".")


def _run(folder: Path, *argv: str) -> None:
    command.run(command.Program(argv, cwd=folder, code="lab.prometheus"))


class Promtool:
    """The program that checks what Prometheus is to read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def complaints(self, *words: str, stdin: str = "", cwd: Path | None = None) -> str:
        """Run it; return what it complains about, empty if all is well."""
        argv = (str(self.folder / "promtool"), *words)
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, cwd=cwd)
        said = done.stdout + done.stderr
        return said if done.returncode or done.stderr else ""


class PrometheusServer:
    """A server that scrapes one address; a context manager starts and ends it."""

    def __init__(self, programs: Path, folder: Path, target: str, path: str) -> None:
        self._program = programs / "prometheus"
        self._folder = folder
        (port,) = free_ports(1)
        self._address = f"{LOOPBACK}:{port}"
        self._daemon = Daemon("Prometheus", folder, Account())
        self._configuration = _SCRAPING.format(target=target, path=path)

    def __enter__(self) -> Self:
        self._folder.mkdir()
        configuration = self._folder / "prometheus.yml"
        configuration.write_text(self._configuration)
        argv: list[str | Path] = [
            self._program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._folder / 'series'}",
            f"--web.listen-address={self._address}",
        ]
        self._daemon.start(argv, {"PATH": os.defpath}, self._is_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.end(signal.SIGTERM)

    def query(self, expression: str) -> list[Mapping[str, Any]]:
        """Return the series of an expression as they are now."""
        try:
            return self._asked(expression)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def _asked(self, expression: str) -> list[Mapping[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{self._address}/api/v1/query?{asked}") as answer:
            found: list[Mapping[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def _is_ready(self) -> bool:
        try:
            return bool(self._asked("up == 1"))
        except OSError:
            return False
