"""Real processes that hold locks until their standard input is closed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# A stage inherits the lock, as the stages of tb-run do. "unnamed" stands for a stage whose tb-run
# was killed before it could write the stage's pid into the file.
RUN = """
import subprocess, sys
from datetime import UTC, datetime
from pathlib import Path
from three_backup.host.processes import Holder
from three_backup.host.locks import IfRunning, Takeover, run_lock
folder, action, stage = Path(sys.argv[1]), IfRunning(sys.argv[2]), sys.argv[3]
sys.stdout.reconfigure(line_buffering=True)
with run_lock(folder, Takeover(action), lambda: datetime.now(UTC), print) as lock:
    held = (sys.executable, "-c", "import sys; sys.stdin.read()")
    pid = stage and subprocess.Popen(held, pass_fds=(lock.descriptor,), stdout=2).pid
    if stage == "named":
        lock.name([Holder.of(pid, "tb-upload")])
    print("held", pid)
    sys.stdin.read()
"""
NOBODY = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
ANOTHERS = RUN.replace('    print("held"', f'    {NOBODY}    print("held"')
REFUSED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from three_backup.errors import BackupError
from three_backup.host.locks import Takeover, run_lock
"""
REFUSED += (
    NOBODY
    + """
try:
    with run_lock(Path(sys.argv[1]), Takeover(), lambda: datetime.now(UTC), print):
        print("held", flush=True)
except BackupError as error:
    print(error.code, error.message, flush=True)
"""
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
CARRIER = """
import sys
from pathlib import Path
from three_backup.host.locks import carrier_lock
with carrier_lock(Path(sys.argv[1]), sys.argv[2], shared=sys.argv[3] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""

ENDING = """
import ctypes, os, sys, threading, time
from pathlib import Path
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier

def outlive():
    while "State:\\tZ" not in Path("/proc/self/status").read_text():
        time.sleep(0.01)
    print("held", flush=True)
    time.sleep(0.5)
    os._exit(0)

with carrier_lock(Path(sys.argv[1]), Carrier(sys.argv[2])):
    threading.Thread(target=outlive).start()
    ctypes.CDLL(None).pthread_exit(None)  # a zombie from now on, whose files are still open
"""

Owner = subprocess.Popen[str]
Start = Callable[..., Owner]


@pytest.fixture
def start() -> Iterator[Callable[..., Owner]]:
    """A function that starts a script with arguments; all scripts are killed after the test."""
    with ExitStack() as stack:

        def start(script: str, *arguments: object) -> Owner:
            owner = stack.enter_context(
                subprocess.Popen(
                    (sys.executable, "-c", script, *map(str, arguments)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
            stack.callback(owner.kill)
            return owner

        yield start


@pytest.fixture
def run(start: Start, tmp_path: Path) -> Start:
    """A function that starts a run for the lock of tmp_path; stage: "", "named" or "unnamed"."""
    return lambda action="skip", stage="": start(RUN, tmp_path, action, stage)


@pytest.fixture
def stubborn_run(start: Start, tmp_path: Path) -> Start:
    return lambda: start(STUBBORN + RUN, tmp_path, "skip", "")


@pytest.fixture
def anothers_run(start: Start, tmp_path: Path) -> Start:
    """A function that starts a run of another user. The test is skipped unless root runs it."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    return lambda: start(ANOTHERS, tmp_path, "skip", "")


@pytest.fixture
def refused_run(start: Start) -> Start:
    """A function that lets another user try a run in a folder and prints what that user is told.

    The test is skipped unless root runs it.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    return lambda folder: start(REFUSED, folder)


@pytest.fixture
def carrier_owner(start: Start, tmp_path: Path) -> Start:
    return lambda carrier, mode="": start(CARRIER, tmp_path, carrier, mode)


@pytest.fixture
def ending_owner(start: Start, tmp_path: Path) -> Start:
    """A function that starts an owner in the state of a killed one for half a second.

    Its main thread has ended, another has not: the kernel keeps its lock, and names no holder.
    """
    return lambda carrier: start(ENDING, tmp_path, carrier)
