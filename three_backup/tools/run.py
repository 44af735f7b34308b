"""tb-run - back up everything that is due

Usage:
  tb-run [--select PATTERN]... [--base | --incremental] [--quiet | --json] [options]
  tb-run --dry-run [--select PATTERN]... [--base | --incremental] [--json] [options]

Options:
  -s, --select PATTERN     only objects whose id matches; may be repeated
      --base               take a base of every object, whatever is due
      --incremental        take an incremental, whatever is due; a base where none can follow
      --dry-run            show what would be taken and why; take no lock, and change nothing
      --if-running ACTION  where another run holds the lock: skip, wait or kill
  -q, --quiet              speak only when something failed, or is new
      --json               print the records instead of the summary
      --adopt              take over a prefix that another host wrote
      --progress WHEN      draw a bar: auto, always or never [default: auto]
  -c, --config FILE        the configuration
      --env-file FILE      PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help               show this
      --version            show the version

Runs tb-discover | tb-plan | tb-snapshot | tb-upload | tb-rotate under the lock of the run. By the
configuration tb-copy comes last (copy_to), and tb-wal pull before and after all (wal: pull).
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.command import Pipeline, Program, folder_of, joined
from three_backup.deciding.discovery import reachable
from three_backup.errors import Exit
from three_backup.host.locks import IfRunning, RunLock, Takeover, run_lock
from three_backup.host.places import HEARTBEAT
from three_backup.host.processes import Holder
from three_backup.host.signals import StoppedError
from three_backup.host.trace import Places, Trace
from three_backup.model import wal
from three_backup.model.records import Record
from three_backup.model.snapshots import stamp
from three_backup.pipe import Invocation, if_running
from three_backup.s3 import away
from three_backup.screen.terminal import Colour, painted
from three_backup.watching import aftermath, run_history, summary
from three_backup.watching.forms import PLANNED
from three_backup.watching.hooks import Event, Hooks
from three_backup.watching.last_run import LastRun, RunLedger
from three_backup.watching.pipeline_end import died, printed, spoken, status_of
from three_backup.watching.run_trace import RunTrace
from three_backup.watching.sheet import Sheet
from three_backup.watching.stage_costs import StageCosts
from three_backup.watching.summary import Summary

_PLANNING = ("tb-discover", "tb-plan")
_STAGES = (*_PLANNING, "tb-snapshot", "tb-upload", "tb-rotate", "tb-copy")
_WANTED = ("--base", "--incremental")
_LOG = "tb-wal"
_WRITING = ("tb-snapshot", "tb-upload", "tb-rotate", "tb-copy", _LOG)
_MOVING = ("tb-snapshot", "tb-upload", "tb-copy", _LOG)
_PLACES = Places()


@dataclass(frozen=True, slots=True)
class Args:
    if_running: IfRunning | None  # None: what the configuration says
    quiet: bool
    adopt: bool
    dry_run: bool
    wanted: tuple[str, ...]  # the option of tb-plan that says what to take, whatever is due

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(
            if_running=if_running(arguments),
            quiet=bool(arguments["--quiet"]),
            adopt=bool(arguments["--adopt"]),
            dry_run=bool(arguments["--dry-run"]),
            wanted=tuple(option for option in _WANTED if arguments[option]),
        )


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation, places: Places = _PLACES) -> Exit:
    """Run the stages. places: where the run is traced, besides log_file."""
    settings = invocation.configuration.run
    names = _STAGES if invocation.configuration.copied_to else _STAGES[:-1]
    args = Args.of(invocation.arguments)
    if not args.dry_run:
        places = replace(places, file=settings.log_file)
        invocation.trace = Trace(places, stamp(invocation.clock()), invocation.name)
    words = {"tb-plan": args.wanted}
    program = partial(_program, invocation, folder_of(names), adopt=args.adopt)
    stages = [program(name, *words.get(name, ())) for name in names]
    if args.dry_run:
        return _foretold(invocation, stages[: len(_PLANNING)])
    log = program(_LOG, "pull")
    patience = Takeover(args.if_running or settings.if_running, settings.kill_after)
    with run_lock(settings.local_dir, patience, invocation.clock, invocation.say) as lock:
        try:
            work = _quietly if args.quiet else _run
            return work(invocation, lock, stages, log)
        except (KeyboardInterrupt, StoppedError):
            invocation.say("stopped, and every stage has ended; the next run goes on from here")
            raise


def _foretold(invocation: Invocation, stages: Sequence[Program]) -> Exit:
    """Show what the run would do."""
    done = Summary()
    invocation.present(Sheet(PLANNED), always=True)
    with joined(stages) as pipeline:
        for record in printed(pipeline.output, invocation.name):
            done.add(record)
            invocation.emit(record)
        statuses = pipeline.statuses()
    deaths = died(_PLANNING, statuses, done)
    for death in deaths:
        invocation.say(death)
    return status_of(statuses, done, deaths)


def _quietly(
    invocation: Invocation, lock: RunLock, stages: Sequence[Program], log: Program
) -> Exit:
    """Run as _run does, but where all is well say only what the runs before did not say."""
    local_dir = invocation.configuration.run.local_dir
    with pipe.quiet(local_dir, invocation.patterns, pipe.complain) as running:
        invocation.repeated = running.repeated
        inherited = running.repeated.environment
        *within, apart = (
            replace(stage, environment={**stage.environment, **inherited})
            for stage in (*stages, log)
        )
        running.status = _run(invocation, lock, within, apart, quiet=True)
        return running.status


def _run(
    invocation: Invocation,
    lock: RunLock,
    stages: Sequence[Program],
    log: Program,
    *,
    quiet: bool = False,
) -> Exit:
    away.forget(lock.path)
    started, done = time.monotonic(), Summary()
    account, costs = RunLedger(), StageCosts()
    trace = RunTrace.begun(invocation.trace, invocation.patterns)
    local_dir = invocation.configuration.run.local_dir
    past = run_history.begun(local_dir, lock.since, invocation.patterns)
    _tell(invocation, Event.START, {"headline": "the run begins"})
    before = _pulled(invocation, lock, log, costs)  # a base needs the log from its beginning on
    statuses = _statuses(invocation, lock, stages, (done.add, account.add, costs.add, trace.add))
    deaths = died(_STAGES[: len(stages)], statuses, done)
    for death in deaths:
        invocation.say(death)
    status = status_of(statuses, done, deaths)
    if lost := dict.fromkeys((*before, *_pulled(invocation, lock, log, costs))):
        deaths, status = [*deaths, *lost], status or Exit.FAILED
    seconds = time.monotonic() - started
    trace.ended(summary.headline(done, deaths), status, seconds)
    ended = invocation.clock()
    this = LastRun(lock.since, ended, status, tuple(deaths), stages=costs.costs)
    known = aftermath.remember(invocation, account, this, past.ended(this, done))
    if not invocation.json and (status is not Exit.OK or not quiet):
        colour = Colour.GREEN if status is Exit.OK else Colour.RED
        headline, rest = summary.text(done, seconds, deaths).split("\n", 1)
        invocation.write(f"{painted(headline, colour, coloured=invocation.coloured)}\n{rest}")
    aftermath.publish(
        invocation, known
    )  # before the hooks: one of them may copy the page elsewhere
    event = Event.SUCCESS if status is Exit.OK else Event.FAILURE
    _tell(invocation, event, {"status": int(status), **summary.facts(done, seconds, deaths)})
    return status


def _pulled(invocation: Invocation, lock: RunLock, log: Program, costs: StageCosts) -> list[str]:
    """Bring the log up to now into S3 if the configuration asks for it; return what failed."""
    settings = invocation.configuration.source_settings(wal.SOURCE)
    reached = (source.type for source in reachable(invocation.patterns))
    if settings.wal is not wal.Wal.PULL or settings.disable or wal.SOURCE not in reached:
        return []
    done = Summary()
    (status,) = _statuses(invocation, lock, [log], (done.add, costs.add))
    if status in (Exit.OK, Exit.BUSY):  # another pull does it
        return []
    failures = done.failures
    if not failures:
        failures = [f"{_LOG} {spoken(status)}"]
        invocation.say(failures[0])
    return failures


def _statuses(
    invocation: Invocation,
    lock: RunLock,
    stages: Sequence[Program],
    adds: Sequence[Callable[[Record], None]],
) -> list[int]:
    """Run the stages, give each record of the last one to adds, and return how they ended."""
    os.environ[HEARTBEAT] = str(lock.path)
    with joined(stages, inherited=(lock.descriptor,)) as pipeline:
        lock.name(_members(pipeline, stages))
        for record in printed(pipeline.output, invocation.name):
            lock.beat()
            for add in adds:
                add(record)
            if invocation.json:
                invocation.write(record.to_line())
        return pipeline.statuses()


def _program(invocation: Invocation, folder: Path, name: str, *words: str, adopt: bool) -> Program:
    options = _options(invocation, name, adopt=adopt)
    argv = (sys.executable, str(folder / name), *words, *options)
    return Program(argv, invocation.trace.environment)


def _options(invocation: Invocation, stage: str, *, adopt: bool) -> Iterable[str]:
    if invocation.config is not None:
        yield f"--config={invocation.config}"
    if invocation.env_file is not None:
        yield f"--env-file={invocation.env_file}"
    if stage == "tb-discover":
        yield from (f"--select={pattern}" for pattern in invocation.patterns)
    if stage in _WRITING and adopt:
        yield "--adopt"
    if stage in _MOVING:
        yield f"--progress={invocation.progress}"


def _members(pipeline: Pipeline, stages: Sequence[Program]) -> list[Holder]:
    """Return tb-run and those of its stages that still run."""
    names = [Path(stage.argv[1]).name for stage in stages]
    named = {os.getpid(): "tb-run", **dict(zip(pipeline.pids, names, strict=True))}
    found = (Holder.of(pid, name) for pid, name in named.items())
    return [holder for holder in found if holder is not None]


def _tell(invocation: Invocation, event: Event, facts: Mapping[str, Any]) -> None:
    hooks = Hooks.of(invocation.configuration.run)
    hooks.tell(event, {"host": invocation.host, **facts}, invocation.say)
