"""Run the tools in processes forked from one that has imported them.

The suite starts thousands of tools, and starting Python would be most of their work. `bindir`
holds a stand-in for each tool: it hands its command line, environment, folder and standard streams
to a server, waits for the process that the server forks, and ends with the same status. Such a
process belongs to the server's process group and obeys the server's limits. So tests of processes,
signals, locks and limits run the programs in bin/ instead.
"""

import faulthandler
import gc
import marshal
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

TOOLS = (
    *("check", "copy", "discover", "list", "plan", "restore", "rotate", "run", "snapshot"),
    *("status", "upload", "verify", "wal"),
)
_ROOT = Path(__file__).parents[2]
_LONGEST_REQUEST = 1 << 20
_STAND_IN = Path(__file__).with_name("forked_stand_in.py")


class Forked:
    """The stand-ins of the tools, and a client of the server."""

    def __init__(self, folder: Path) -> None:
        self.bindir = folder / "bin"  # must come first on PATH
        self.socket = folder / "socket"
        self.server = 0  # its pid
        self.bindir.mkdir(parents=True)
        folder.chmod(0o700)  # the server would run another user's request as this user
        source = _STAND_IN.read_text()
        for name in TOOLS:
            program = self.bindir / f"tb-{name}"
            program.write_text(f"#!{sys.executable} -IS\nSOCKET = {str(self.socket)!r}\n{source}")
            program.chmod(0o755)

    def run(
        self, folder: Path, environ: Mapping[str, str], argv: Sequence[str], stdin: str = ""
    ) -> tuple[int, str, str]:
        """Run one tool in the folder, without a shell or a stand-in.

        Returns its exit status, standard output and standard error.
        """
        (folder / "stdin").write_text(stdin)
        streams = [
            os.open(folder / name, flags, 0o600)
            for name, flags in (
                ("stdin", os.O_RDONLY),
                ("stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                ("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            )
        ]
        given = {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}
        words = [str(self.bindir / argv[0]), *argv[1:]]
        request = marshal.dumps((words, given, os.fsencode(folder), 0o022))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(self.socket))
            socket.send_fds(connection, [request], streams)
            for stream in streams:
                os.close(stream)
            status = int(connection.recv(16))
        return status, (folder / "stdout").read_text(), (folder / "stderr").read_text()

    def tell_where_they_are(self) -> None:
        """Have the tools that run now print to standard error at which line each thread is."""
        children = Path(f"/proc/{self.server}/task/{self.server}/children").read_text()
        for pid in map(int, children.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)


@contextmanager
def forked(folder: Path) -> Iterator[Forked]:
    """Run the server within the block. The folder is made; its path must be short."""
    tools = Forked(folder)
    argv = (sys.executable, "-m", "tests.lab.forked", str(tools.socket))
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, cwd=_ROOT, start_new_session=True
    ) as server:
        tools.server = server.pid
        while not tools.socket.exists():
            assert server.poll() is None
            time.sleep(0.01)
        yield tools
        assert server.stdin is not None
        server.stdin.close()


class _Server:
    """A server that forks a process for each request, and returns its exit status."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._running: set[int] = set()
        self._selector.register(0, selectors.EVENT_READ, None)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Serve until standard input is closed, then kill what still runs."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    for pid in self._running:
                        os.kill(pid, signal.SIGKILL)
                    return
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        request, streams, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 3)
        pid = os.fork()
        if pid == 0:
            _become(streams, *marshal.loads(request))  # noqa: S302 - our own stand-in wrote it
        for stream in streams:
            os.close(stream)
        self._running.add(pid)
        pidfd = os.pidfd_open(pid)
        self._selector.register(
            pidfd, selectors.EVENT_READ, partial(self._end, pidfd, pid, connection)
        )
        self._selector.register(
            connection, selectors.EVENT_READ, partial(self._kill, pid, connection)
        )

    def _kill(self, pid: int, connection: socket.socket) -> None:
        """Kill the process, as its client has disconnected."""
        if pid in self._running:
            self._selector.unregister(connection)
            os.kill(pid, signal.SIGKILL)

    def _end(self, pidfd: int, pid: int, connection: socket.socket) -> None:
        self._running.discard(pid)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        with suppress(KeyError):  # _kill has unregistered it already
            self._selector.unregister(connection)
        with connection, suppress(OSError):
            connection.send(b"%d" % os.waitstatus_to_exitcode(status))


def _main() -> None:
    path = sys.argv[1]
    _warm()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        os.rename(f"{path}.new", path)  # noqa: PTH104
        _Server(listener).serve()


def _warm() -> None:
    from three_backup.model.storage import Storage
    from three_backup.s3.store import Store

    import_module("psycopg")
    for name in TOOLS:
        import_module(f"three_backup.tools.{name}")
    _ = Store(Storage(Path("/"), "http://127.0.0.1:9", "b", "", "us-east-1", "k", "s")).client
    gc.freeze()  # the collector skips these things, so forked processes share their memory


def _become(
    streams: Sequence[int], argv: list[str], environ: dict[bytes, bytes], cwd: bytes, mask: int
) -> NoReturn:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 1024)
    os.chdir(cwd)
    os.umask(mask)
    os.environb.clear()
    os.environb.update(environ)
    time.tzset()
    faulthandler.register(signal.SIGUSR1, file=2)
    sys.argv = argv
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace")  # noqa: SIM115
    tool = Path(argv[0]).name.removeprefix("tb-")
    status = 1
    try:
        status = import_module(f"three_backup.tools.{tool}").main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the interpreter would print it too
        traceback.print_exc()
    for output in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the tool or the reader has closed it
            output.flush()
    os._exit(status)


if __name__ == "__main__":
    _main()
