"""tb-open - let a client look into a snapshot for a while

Usage:
  tb-open [options] [PATTERN]...

Options:
      --snapshot ID      open this snapshot, not the newest
      --at TIME          as it was at TIME, or at the newest snapshot before it
      --lsn LSN          as PostgreSQL's log had it just before this position
      --xid XID          as it was when this transaction of PostgreSQL had ended
      --before-drop      as it was just before it was dropped, or else truncated
      --exact            fail where just that moment cannot be had
      --for SPAN         close it after so long: 30m, 2h, 1d; without it, when told to end
      --unsigned         take what manifest_key did not sign, too
      --s3-prefix NAME   what another host backed up, below its s3_prefix
      --store NAME       read the copies in this further store
      --as-of TIME       read the bucket as it was then, by the versions that it keeps
      --json             records on a terminal, too
      --progress WHEN    draw a bar: auto, always or never [default: auto]
  -c, --config FILE      the configuration
      --env-file FILE    variables instead of .env.restore and .env beside it
  -h, --help             show this
      --version          show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. Adds opened, once all are open: how each is reached. They stay open until Ctrl-C,
SIGTERM or SIGHUP, or until nobody reads standard output any more. Then nothing is left of them,
however the tool ends.
"""

import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

from three_backup import pipe
from three_backup.config.options import duration
from three_backup.errors import BackupError, Exit, UsageError
from three_backup.host import signals
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation
from three_backup.restoring.looking import Opened, opened_at_once
from three_backup.restoring.restore_order import Request
from three_backup.restoring.search import Search
from three_backup.restoring.ways import Ways
from three_backup.sources.looking import Way

_CLEAN_UP = 60.0
"""Seconds to remove what was open: a signal is how the tool ends, and leaves no hurry."""

_SLICE = 1.0
"""Seconds. A signal that comes just before a wait begins is obeyed after it."""


@dataclass(frozen=True, slots=True)
class Args:
    search: Search
    span: timedelta | None  # --for; None: until told to end

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo, now: datetime) -> Self:
        span = arguments["--for"]
        return cls(Search.of(arguments, zone), None if span is None else _span(span, now))


def main() -> int:
    return pipe.guarded_main(__doc__, run, restores=True)


def run(invocation: Invocation) -> Exit:
    zone = host_zone(os.environ)
    args = Args.of(invocation.arguments, zone, invocation.clock())
    invocation.warn()
    jobs = args.search.jobs(invocation)
    requests, others = args.search.found(invocation, jobs)
    with opened_at_once(invocation, jobs, requests) as outcomes:
        until = None if args.span is None else invocation.clock() + args.span
        invocation.present(Ways(zone, until))
        for record in (*others, *_told(invocation, outcomes)):
            invocation.emit(record)
        invocation.conclude()
        ways = {request.held.object.id: way for request, way in outcomes if isinstance(way, Way)}
        if ways:
            _stay(args.span, ways)
    return invocation.status


def _told(invocation: Invocation, outcomes: Sequence[Opened]) -> Iterator[Record]:
    for request, outcome in outcomes:
        if isinstance(outcome, BackupError):
            yield invocation.fail(request.record, outcome)
        else:
            yield _reached(request, outcome)


def _reached(request: Request, way: Way) -> Record:
    opened = {"snapshot": str(request.held.snapshot.id), "command": way.command, **way.facts}
    return request.record.with_fields(opened={**opened, "notes": list(way.notes)})


def _stay(span: timedelta | None, ways: Mapping[ObjectId, Way]) -> None:
    """Wait so long. Raises BrokenPipeError once nobody reads standard output any more.

    Raises BackupError once a server has ended by itself.
    """
    signals.allow(_CLEAN_UP)
    ends = {way.end: object_id for object_id, way in ways.items() if way.end is not None}
    waiting = select.poll()
    waiting.register(sys.stdout.fileno(), 0)  # only what is always told: errors, and the end
    for handle in ends:
        waiting.register(handle, select.POLLIN)
    until = None if span is None else time.monotonic() + span.total_seconds()
    while until is None or time.monotonic() < until:
        left = _SLICE if until is None else min(_SLICE, max(0.0, until - time.monotonic()))
        for handle, _ in waiting.poll(left * 1000):
            raise _ended(ends[handle]) if handle in ends else BrokenPipeError


def _ended(object_id: ObjectId) -> BackupError:
    return BackupError(
        "open.ended",
        f"{object_id}: the server in which it was open has ended",
        "see whether the kernel was short of memory (dmesg), and open it again",
    )


def _span(text: str, now: datetime) -> timedelta:
    try:
        span = duration(text)
        _ = now + span  # fails where there is no such time
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "open.for", f"{text!r} is not a span of time", "write 30m or 2h"
        ) from error
    if not span:
        raise UsageError("open.for", f"--for {text} would close at once", "write 30m or 2h")
    return span
