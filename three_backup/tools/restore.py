"""tb-restore - bring objects back out of their snapshots

Usage:
  tb-restore [options] [--tablespace-mapping MAPPING]... [PATTERN]...

Options:
      --snapshot ID           out of this snapshot, not out of the newest
      --at TIME               as it was at TIME, or at the newest snapshot before it
      --lsn LSN               as PostgreSQL's log had it just before this position
      --xid XID               as it was when this transaction of PostgreSQL had ended
      --before-drop           as it was just before it was dropped, or else truncated
      --exact                 fail where just that moment cannot be brought back
      --level1 NAME           under another level1: LXD pool, database, cluster
      --level2 NAME           under another level2: project, schema, database
      --level3 NAME           under another name
      --level1-suffix SUFFIX  append to level1
      --level2-suffix SUFFIX  append to level2
      --level3-suffix SUFFIX  append to the name
      --into TYPE             what LXD had into Incus, or back: incus or lxd
      --dry-run               say what would be done, and touch nothing
      --overwrite             replace what has the target's name
      --no-owner              give all to the role that restores, not to whom it belonged
      --no-acl                leave out grants
      --without-devices       leave out profiles and devices that this host lacks
      --unchecked             do not check tables of ClickHouse once they are restored
      --sql-before FILE       run this SQL on what is read, before rows of it leave
      --pgdata DIR            a whole cluster of PostgreSQL, as a data directory
      --pgdata-owner USER     whose DIR shall be, if root restores it
      --verify                compare all bytes with PostgreSQL's own program before they are used
      --tablespace-mapping MAPPING  OLD=NEW: a tablespace of it goes to NEW; repeatable
      --unsigned              take what manifest_key did not sign, too
      --s3-prefix NAME        what another host backed up, below its s3_prefix
      --store NAME            read the copies in this further store
      --as-of TIME            read the bucket as it was then, by the versions it keeps
      --json                  records on a terminal, too, and the summary beside them
      --progress WHEN         draw a bar: auto, always or never [default: auto]
  -c, --config FILE           the configuration
      --env-file FILE         variables instead of .env.restore and .env beside it
  -h, --help                  show this
      --version               show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. TIME is RFC 3339, or 2026-11-23 or 2026-11-23 03:00 in the host's time zone, or as
it is printed. The moments between snapshots come out of PostgreSQL's archived log (tb-wal).
Adds restored, or would_restore with --dry-run. At the end comes a summary: on a terminal in place
of the records, else on standard error.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, readable
from three_backup.model.moment import Moment
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation, translated
from three_backup.restoring.asked_for import asked_for, reachable
from three_backup.restoring.foresight import Foresight
from three_backup.restoring.moments import MomentFinder, moment_of
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.restore_order import Request, parties
from three_backup.restoring.rounds import Rounds
from three_backup.restoring.snapshot_choice import Choice
from three_backup.restoring.snapshot_finder import Finder, Held
from three_backup.restoring.sql_file import read_sql, why_no_sql
from three_backup.restoring.summary import RestoreSummary
from three_backup.restoring.target_names import LEVELS, Renaming
from three_backup.restoring.whole_server import OF_OBJECTS, WholeRequest, restore_whole
from three_backup.sources.base import LackingError, Planned, Restored
from three_backup.sources.jobs import SqlFile


@dataclass(frozen=True, slots=True)
class Args:
    pattern: tuple[str, ...]
    choice: Choice  # --snapshot, --at
    moment: Moment | None  # --at, --lsn, --xid, --before-drop
    exact: bool
    renaming: Renaming  # --level1 to --level3-suffix, --into
    dry_run: bool
    overwrite: bool
    no_owner: bool
    no_acl: bool
    without_devices: bool
    unchecked: bool
    verify: bool
    sql_before: SqlFile | None
    pgdata: Path | None
    pgdata_owner: str | None
    tablespace_mapping: tuple[str, ...]
    of_objects: tuple[str, ...]  # those of OF_OBJECTS that are given

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo) -> Self:
        pgdata, sql_before = arguments["--pgdata"], arguments["--sql-before"]
        choice = Choice.of(arguments["--snapshot"], arguments["--at"], zone)
        return cls(
            pattern=tuple(map(readable, arguments["PATTERN"])),
            choice=choice,
            moment=moment_of(arguments, choice),
            exact=bool(arguments["--exact"]),
            renaming=Renaming.of(
                {level: arguments[f"--{level}"] for level in LEVELS},
                {level: arguments[f"--{level}-suffix"] for level in LEVELS},
                arguments["--into"],
            ),
            dry_run=bool(arguments["--dry-run"]),
            overwrite=bool(arguments["--overwrite"]),
            no_owner=bool(arguments["--no-owner"]),
            no_acl=bool(arguments["--no-acl"]),
            without_devices=bool(arguments["--without-devices"]),
            unchecked=bool(arguments["--unchecked"]),
            verify=bool(arguments["--verify"]),
            sql_before=None if sql_before is None else read_sql(Path(sql_before)),
            pgdata=None if pgdata is None else Path(pgdata),
            pgdata_owner=arguments["--pgdata-owner"],
            tablespace_mapping=tuple(arguments["--tablespace-mapping"]),
            of_objects=tuple(option for option in OF_OBJECTS if arguments[option]),
        )


def main() -> int:
    return pipe.main(__doc__, run, restores=True)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments, host_zone(os.environ))
    invocation.warn()
    catalogs = [reachable(invocation, catalog) for catalog in invocation.catalogs]
    moments = _moments(invocation, args, catalogs)
    foresight = Foresight(invocation.configuration.run.local_dir)
    summary = RestoreSummary(args.dry_run, host_zone(os.environ), foresight)
    invocation.present(summary, beside=args.pgdata is None)
    if args.pgdata is not None:
        restore_whole(invocation, catalogs, _whole(args, args.pgdata, moments), foresight)
    else:
        _restore(invocation, args, moments or Finder(catalogs, args.choice), foresight)
    _remember(invocation, foresight)


def _remember(invocation: Invocation, foresight: Foresight) -> None:
    """Remember how long this took; a full disk, say, must not make a restore fail."""
    try:
        with translated():
            foresight.remember(invocation.clock())
    except BackupError as error:
        invocation.say(f"how long this took is not remembered: {error}")


def _whole(args: Args, pgdata: Path, moments: MomentFinder | None) -> WholeRequest:
    return WholeRequest(
        pattern=args.pattern,
        choice=args.choice,
        pgdata=pgdata,
        pgdata_owner=args.pgdata_owner,
        tablespace_mapping=args.tablespace_mapping,
        of_objects=args.of_objects,
        dry_run=args.dry_run,
        verify=args.verify,
        moments=moments,
    )


def _moments(
    invocation: Invocation, args: Args, catalogs: Sequence[Catalog]
) -> MomentFinder | None:
    if args.moment is None:
        return None
    finder, revive = Finder(catalogs, args.choice), _jobs(invocation, args).revive
    return MomentFinder(catalogs, finder, args.moment, revive, exact=args.exact)


def _jobs(invocation: Invocation, args: Args) -> RestoreJobs:
    options = {
        "owner": not args.no_owner,
        "acl": not args.no_acl,
        "without_devices": args.without_devices,
        "check": not args.unchecked,
        "exact": args.exact,
    }
    return RestoreJobs(
        invocation,
        args.choice,
        options,
        overwrite=args.overwrite,
        verify=args.verify,
        sql_before=args.sql_before,
    )


def _restore(
    invocation: Invocation, args: Args, finder: Finder | MomentFinder, foresight: Foresight
) -> None:
    asked = asked_for(invocation, finder, args.pattern)
    found = [(record, _allowed(args, held)) for record, held in asked]
    if not found:
        raise BackupError(
            "restore.nothing",
            "no records came on standard input, so that nothing is restored",
            "name what to restore, or feed what tb-discover --stored prints",
        )
    targets = args.renaming.targets(held.object.id for _, held in found if isinstance(held, Held))
    requests = {}
    for record, held in found:
        if isinstance(held, Held):
            target = targets[held.object.id]
            requests[target] = Request(record, held, target)
        else:
            invocation.emit(record if held is None else invocation.fail(record, held))
    for record in _restored(invocation, args, requests.values(), foresight):
        invocation.emit(record)


def _allowed(args: Args, held: Held | BackupError | None) -> Held | BackupError | None:
    if args.sql_before is None or not isinstance(held, Held):
        return held
    return why_no_sql(held.object.id) or held


def _restored(
    invocation: Invocation, args: Args, requests: Iterable[Request], foresight: Foresight
) -> Iterator[Record]:
    """Yield each record as soon as its object is restored.

    An object that lacks something is tried again after the others, as long as a round restores at
    least one object.
    """
    left = list(requests)
    rounds = Rounds(invocation, _jobs(invocation, args), args.dry_run)
    while left:
        lacking: list[tuple[Request, LackingError]] = []
        came = False
        for request, outcome in rounds.outcomes(parties(left)):
            if isinstance(outcome, LackingError):
                lacking.append((request, outcome))
            elif isinstance(outcome, BackupError):
                yield invocation.fail(request.record, outcome)
            else:
                came = True
                record = _result(invocation, request, outcome)
                yield foresight.seen(record, request.held.snapshot.catalog)
        left = [request for request, _ in lacking] if came else []
        if not came:
            yield from (invocation.fail(request.record, error) for request, error in lacking)


def _result(invocation: Invocation, request: Request, outcome: Restored | Planned) -> Record:
    held, notes = request.held, [*request.held.notes, *outcome.notes]
    for note in notes:
        invocation.say(f"{request.target}: {note}")
    told = {
        "target": str(request.target),
        "snapshot": str(held.snapshot.id),
        **outcome.facts,
        **({"notes": notes} if notes else {}),
    }
    field = "restored" if isinstance(outcome, Restored) else "would_restore"
    return request.record.with_fields(**{field: told})
