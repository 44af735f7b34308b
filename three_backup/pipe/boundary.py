"""The boundary of a tool: whatever stops the tool becomes a sentence and an exit status."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from three_backup.errors import BackupError, Exit
from three_backup.host import rights, signals
from three_backup.host.garbage import collect_less_often
from three_backup.host.signals import StoppedError
from three_backup.host.trace import Priority, Trace
from three_backup.pipe.arguments import parsed
from three_backup.pipe.failures import refused
from three_backup.pipe.invocation import Invocation
from three_backup.pipe.speech import (
    complain,
    fill_closed_descriptors,
    require_output,
    silenced,
    speak_utf8,
)


def main(
    usage: str,
    run: Callable[[Invocation], int | None],
    argv: list[str] | None = None,
    unable: Callable[[str, BackupError], int] | None = None,
    *,
    restores: bool = False,
    configures: bool = False,
) -> int:
    """Run a tool, and return its exit status.

    usage: its `--help` text, which begins with its name. run: may return an exit status of its
    own; otherwise the records that passed decide. unable: given the name and the error, says why
    the tool cannot do its work, and returns the exit status; without it standard error says so.
    restores: see Invocation. configures: the configuration need not be there yet.
    """
    fill_closed_descriptors()
    rights.keep_private()
    collect_less_often()
    name = usage.split(maxsplit=1)[0]
    invocation: Invocation | None = None
    try:
        signals.listen()
        require_output()
        speak_utf8()
        invocation = Invocation(name, parsed(usage, name, argv), restores=restores)
        if "--config" in invocation.arguments and not configures:
            _ = invocation.configuration  # its mistakes are told even without records
        status = _ran(run, invocation)
        sys.stdout.flush()
        return int(invocation.status if status is None else status)
    except BackupError as error:
        _trace(name, invocation, error)
        return (unable or _complained)(name, error)
    except BrokenPipeError:
        return int(silenced(Exit.CLOSED_PIPE))
    except KeyboardInterrupt:
        return int(silenced(Exit.INTERRUPTED))
    except StoppedError:
        return int(silenced(Exit.TERMINATED))
    except OSError as error:
        _trace(name, invocation, refused(error))
        status = (unable or _complained)(name, refused(error))
        silenced(Exit.FAILED)
        return status


def _ran(run: Callable[[Invocation], int | None], invocation: Invocation) -> int | None:
    """Run the tool, and show what it presents, even if it is stopped before its end."""
    try:
        status = run(invocation)
    except (BackupError, KeyboardInterrupt, StoppedError):
        with suppress(OSError):  # the terminal may have hung up
            invocation.conclude(early=True)
        raise
    invocation.conclude()
    return status


def _trace(name: str, invocation: Invocation | None, error: BackupError) -> None:
    trace = Trace.of(os.environ, name) if invocation is None else invocation.trace
    trace.write(str(error), Priority.ERROR, code=error.code)


def _complained(name: str, error: BackupError) -> int:
    complain(f"{name}: {error}")
    return int(error.status)
