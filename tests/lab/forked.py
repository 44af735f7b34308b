"""The tools in processes forked from one that has imported them: `python -m tests.lab.forked`.

A sweep runs a tool a thousand times, and the start of Python would be most of what it does. Each
line on stdin is a request, each line on stdout how that one ended.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

_MODULES = ("discover", "list", "plan", "restore", "rotate", "snapshot", "upload", "verify")
_ROOT = Path(__file__).parents[2]


class Forked:
    """folder: where the tools run, and where what they say is put."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def run(self, environ: Mapping[str, str], name: str, *argv: str, stdin: str = "") -> int:
        """The exit status of a tool, once it has ended."""
        (self._folder / "stdin").write_text(stdin)
        request = {"name": name, "argv": argv, "environ": dict(environ), "cwd": str(self._folder)}
        requests, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        return int(answers.readline())

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()


@contextmanager
def forked(folder: Path) -> Iterator[Forked]:
    with subprocess.Popen(
        (sys.executable, "-m", "tests.lab.forked"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        text=True,
    ) as process:
        yield Forked(process, folder)


def _main() -> None:
    _warm()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


def _warm() -> None:
    from three_backup.s3.store import Store
    from three_backup.storage import Storage

    import_module("psycopg")
    for name in _MODULES:
        import_module(f"three_backup.tools.{name}")
    _ = Store(Storage(Path("/"), "http://127.0.0.1:9", "b", "", "us-east-1", "k", "s")).client


def _become(request: Mapping[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = [f"tb-{request['name']}", *request["argv"]]
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        descriptor = os.open(name, flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace")  # noqa: SIM115
    status = import_module(f"three_backup.tools.{request['name']}").main()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    _main()
