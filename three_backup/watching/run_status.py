"""What the exit statuses of its stages mean for a run."""

from collections.abc import Sequence

from three_backup.command import signal_name
from three_backup.errors import Exit
from three_backup.watching.summary import Summary

_DECISIVE = (Exit.CONFIGURATION, Exit.USAGE)
_SIGNALLED = 128
_ORDERLY = (Exit.OK, Exit.FAILED, Exit.UNREACHABLE, Exit.CLOSED_PIPE, *_DECISIVE)


def deaths(names: Sequence[str], statuses: Sequence[int], done: Summary) -> list[str]:
    """Return a sentence on each stage that ended before it had seen its last record."""
    return [
        f"{name} {how(status)}"
        for name, status in zip(names, statuses, strict=True)
        if status not in _ORDERLY or (status == Exit.FAILED and not done.errors)
    ]


def how(status: int) -> str:
    """Say how a stage ended that did not end well."""
    number = status - _SIGNALLED if status in (Exit.INTERRUPTED, Exit.TERMINATED) else -status
    return f"was ended by {signal_name(number)}" if number > 0 else f"failed with status {status}"


def judged(statuses: Sequence[int], done: Summary, deaths: Sequence[str]) -> Exit:
    """Return the exit status of the run."""
    for decisive in _DECISIVE:
        if decisive in statuses:
            return decisive
    if deaths:
        return Exit.FAILED
    if Exit.UNREACHABLE in statuses and done.failed == done.objects:
        return Exit.UNREACHABLE
    return Exit.FAILED if done.errors or any(statuses) else Exit.OK
