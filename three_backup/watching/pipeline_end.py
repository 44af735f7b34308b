"""The end of the pipeline of a run: what its last stage prints, and how each stage ended."""

from collections.abc import Iterable, Iterator, Sequence

from three_backup.command import signal_name
from three_backup.errors import BackupError, Exit
from three_backup.model.records import Record, malformed_line
from three_backup.watching.summary import Summary

_DECISIVE = (Exit.CONFIGURATION, Exit.USAGE)
_SIGNALLED = 128
_ORDERLY = (Exit.OK, Exit.FAILED, Exit.UNREACHABLE, Exit.CLOSED_PIPE, *_DECISIVE)


def printed(output: Iterable[bytes], tool: str) -> Iterator[Record]:
    """Yield what the last stage printed; a line cut short by a kill yields an error record."""
    for number, line in enumerate(output, 1):
        try:
            yield Record.parse(line)
        except BackupError as error:
            yield malformed_line(tool, number, error)


def died(stages: Sequence[str], statuses: Sequence[int], done: Summary) -> list[str]:
    """Return a sentence on each stage that ended before it had seen its last record."""
    return [
        f"{name} {spoken(status)}"
        for name, status in zip(stages, statuses, strict=True)
        if status not in _ORDERLY or (status == Exit.FAILED and not done.errors)
    ]


def spoken(status: int) -> str:
    """Return how a stage ended, in words that follow its name."""
    number = status - _SIGNALLED if status in (Exit.INTERRUPTED, Exit.TERMINATED) else -status
    return f"was ended by {signal_name(number)}" if number > 0 else f"failed with status {status}"


def status_of(statuses: Sequence[int], done: Summary, deaths: Sequence[str]) -> Exit:
    """Return the status of a run whose stages ended with the statuses. deaths: what died says."""
    for decisive in _DECISIVE:
        if decisive in statuses:
            return decisive
    if deaths:
        return Exit.FAILED
    if Exit.UNREACHABLE in statuses and done.failed == done.objects:
        return Exit.UNREACHABLE
    return Exit.FAILED if done.errors or any(statuses) else Exit.OK
