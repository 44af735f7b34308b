"""The one way to run another program: an argv, never a shell, its failure a sentence."""

import os
import pwd
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast

from three_backup.errors import BackupError

GRACE = 10.0
"""Seconds that a program has between SIGTERM and SIGKILL."""

_AFTER_INTERRUPT = 2.0
_TAIL_LINES = 40
_LINE_BYTES = 2000
_QUOTED_LINES = 3
_BUFFER_SIZE = 1 << 20
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOCALE = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, as whom, and how to speak of its failure.

    environment: on top of our own, None removes a variable; user: run as that user with none of
    our groups, in its name and from `/` unless cwd says otherwise. code, what: of the BackupError,
    what stands before its sentence; package: what to install where the program is missing; redact:
    takes secrets out of what the program printed on stderr; timeout: seconds after which `run`
    ends it, None for never.
    """

    argv: Sequence[str]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    user: str | None = None
    cwd: Path | None = None
    code: str = "command.failed"
    what: str = ""
    package: str = ""
    redact: Callable[[str], str] = str
    timeout: float | None = None

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name


def run(program: Program, input: str | bytes | None = None) -> str:
    """What the program printed on stdout. Without input its stdin is /dev/null.

    A program that leaves a server behind must give it another stdout: this waits for its end.
    """
    given = input.encode() if isinstance(input, str) else input
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    with _started(program, stdin) as started:
        output = _output(started.process, given, program)
        _check([started])
    return output.decode("utf-8", "surrogateescape")


def pipe(left: Program, right: Program) -> str:
    """left | right: what right printed on stdout. Raises where either failed."""
    with (
        _started(left, subprocess.DEVNULL) as writer,
        _started(right, _stdout(writer)) as reader,
    ):
        _stdout(writer).close()  # or the writer never hears that the reader is gone
        output = _output(reader.process, None, right)
        _check([writer, reader])
    return output.decode("utf-8", "surrogateescape")


@contextmanager
def stream(program: Program) -> Iterator[IO[bytes]]:
    """What the program prints on stdout, while it prints it.

    It has ended only when the program exited 0: the last read raises otherwise. A program that is
    not read to its end is ended with the block.
    """
    with (
        _started(program, subprocess.DEVNULL) as started,
        BufferedReader(_CheckedOutput(started), _BUFFER_SIZE) as readable,
    ):
        yield readable


def feed(program: Program, pieces: Iterable[bytes]) -> None:
    """Write the pieces to the program's stdin. What is raised between them ends it before it can
    take what it has for the whole."""
    with _started(program, subprocess.PIPE) as started:
        stdin = cast(IO[bytes], started.process.stdin)
        with suppress(BrokenPipeError):  # it says itself why it reads no more
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    left = left[stdin.write(left) :]
        stdin.close()
        started.process.stdin = None
        _output(started.process, None, program)
        _check([started])


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Programs that run, each reading what the one before it prints. output: of the last one."""

    processes: Sequence[subprocess.Popen[bytes]]
    output: IO[bytes]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def statuses(self) -> list[int]:
        """How each ended, once all have: an exit status, or a signal as its negative number."""
        return [process.wait() for process in self.processes]


@contextmanager
def joined(programs: Sequence[Program], inherited: Sequence[int] = ()) -> Iterator[Pipeline]:
    """first | second | ... | last, their stderr ours; they have ended when the block has.

    inherited: descriptors that every one of them keeps open.
    """
    processes: list[subprocess.Popen[bytes]] = []
    output: int | IO[bytes] = subprocess.DEVNULL
    try:
        for program in programs:
            with _signals_deferred():
                processes.append(_open(program, output, None, inherited))
            if not isinstance(output, int):
                output.close()  # or its writer never hears that its reader is gone
            output = cast(IO[bytes], processes[-1].stdout)
        yield Pipeline(processes, BufferedReader(cast(RawIOBase, output)))
    except KeyboardInterrupt:
        _wait(processes, _AFTER_INTERRUPT)  # from the terminal they have heard of it themselves
        raise
    finally:
        if not isinstance(output, int):
            output.close()
        _end(processes)


@dataclass(frozen=True, slots=True)
class _Started:
    program: Program
    process: subprocess.Popen[bytes]
    tail: "_Tail"

    def failure(self) -> str | None:
        """A sentence, once the program has ended."""
        status = self.process.wait()
        if status == 0:
            return None
        how = f"exit status {status}" if status > 0 else f"ended by {signal_name(-status)}"
        said = self.program.redact(self.tail.sentence(self.program.name))
        return f"{self.program.name} failed ({how})" + (f": {said}" if said else "")


class _CheckedOutput(RawIOBase):
    def __init__(self, started: _Started) -> None:
        self._started = started

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(RawIOBase, _stdout(self._started)).readinto(buffer) or 0
        if count == 0:
            _check([self._started])
        return count


class _Tail:
    """The last lines that a program prints on stderr, however many it prints."""

    def __init__(self, readable: IO[bytes]) -> None:
        self._readable = readable
        self._lines: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def sentence(self, name: str) -> str:
        self._thread.join(timeout=1)  # a server that the program left behind may hold it open
        lines = (line.decode("utf-8", "replace").strip() for line in tuple(self._lines))
        meaningful = list(dict.fromkeys(line.removeprefix(f"{name}: ") for line in lines if line))
        return "; ".join(meaningful[-_QUOTED_LINES:])

    def _collect(self) -> None:
        with self._readable:
            while line := self._readable.readline(_LINE_BYTES):
                self._lines.append(line)


def _output(process: subprocess.Popen[bytes], given: bytes | None, program: Program) -> bytes:
    """All of it. A signal on the brink of a blocking read is heard within the second."""
    began = time.monotonic()
    while program.timeout is None or time.monotonic() - began < program.timeout:
        try:
            return process.communicate(given, timeout=min(1, program.timeout or 1))[0]
        except subprocess.TimeoutExpired:
            given = None  # it is being written already
    sentence = f"{program.name} did not end within {program.timeout:g} seconds and was ended"
    raise BackupError(program.code, _about(program, sentence))


@contextmanager
def _started(program: Program, stdin: int | IO[bytes]) -> Iterator[_Started]:
    """The program, running; it has ended when the block has, whatever happens in there."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with _signals_deferred():
            process, tail = _open_with_tail(program, stdin)
            processes.append(process)
        yield _Started(program, process, tail)
    finally:
        _end(processes)
        for process in processes:
            for ours in filter(None, (process.stdin, process.stdout)):
                ours.close()


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """What a signal raises waits for the end of the block: in its middle it orphans a child."""
    came: list[signal.Signals] = []
    handlers: dict[signal.Signals, Callable[[int, None], object]] = {}
    try:
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():  # nowhere else is it raised
                for number in _ENDING:
                    handler = signal.getsignal(number)
                    if callable(handler):
                        handlers[number] = handler
                        stack.callback(signal.signal, number, handler)
                        signal.signal(
                            number, lambda number, _: came.append(signal.Signals(number))
                        )
            yield
    finally:
        for number in came[:1]:
            handlers[number](number, None)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM, a grace, SIGKILL, for those that still run."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in _wait(running, GRACE):
        process.kill()
        process.wait()


def _wait(
    processes: Sequence[subprocess.Popen[bytes]], seconds: float
) -> list[subprocess.Popen[bytes]]:
    """Those that have not ended when the seconds are over."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline - time.monotonic()))
    return [process for process in processes if process.poll() is None]


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _open_with_tail(
    program: Program, stdin: int | IO[bytes]
) -> tuple[subprocess.Popen[bytes], _Tail]:
    ours, theirs = os.pipe()
    try:
        process = _open(program, stdin, theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, _Tail(os.fdopen(ours, "rb"))


def _open(
    program: Program,
    stdin: int | IO[bytes],
    stderr: int | None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    account = None if program.user is None else _account(program)
    try:
        return subprocess.Popen(
            program.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            pass_fds=inherited,
            env=_environment(program, account),
            cwd=program.cwd or (None if account is None else "/"),
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else (),
        )
    except OSError as error:
        raise _not_started(program, error) from error


def _account(program: Program) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(program.user or "")
    except KeyError as error:
        raise BackupError(
            "command.user",
            _about(program, f"there is no user {program.user} to run {program.name} as"),
            "create the user or name another one",
        ) from error


def _environment(program: Program, account: pwd.struct_passwd | None) -> dict[str, str]:
    environment: dict[str, str | None] = {**os.environ, **_LOCALE}
    if account is not None:
        environment.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    environment.update(program.environment)
    return {name: value for name, value in environment.items() if value is not None}


def _not_started(program: Program, error: OSError) -> BackupError:
    if isinstance(error, FileNotFoundError) and error.filename == program.argv[0]:
        hint = f"install {program.package}" if program.package else "install it"
        sentence = f"the program {program.argv[0]} is missing"
        return BackupError(
            "command.missing", _about(program, sentence), f"{hint} or add its folder to PATH"
        )
    by = f" as user {program.user}" if program.user else ""
    why = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
    return BackupError(program.code, _about(program, f"cannot run {program.name}{by}: {why}"))


def _check(started: Sequence[_Started]) -> None:
    """Raises where one failed. Whose reader failed and who died of that is not to blame."""
    failures = [one.failure() for one in started]
    if failures[-1] and started[0].process.returncode == -signal.SIGPIPE:
        failures = failures[1:]
    sentences = [failure for failure in failures if failure]
    if sentences:
        program = started[-1].program
        raise BackupError(program.code, _about(program, "; ".join(sentences)))


def _about(program: Program, sentence: str) -> str:
    return f"{program.what}: {sentence}" if program.what else sentence


def _stdout(started: _Started) -> IO[bytes]:
    return cast(IO[bytes], started.process.stdout)
