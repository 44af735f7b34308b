"""tb-list - show the objects, how far they have come, and their snapshots

Usage:
  tb-list [--select PATTERN]... [--history ID | --find NAME] [options]

Options:
  -s, --select PATTERN  only objects whose id matches; may be repeated
      --stages          with stage and max_stage
      --snapshots       with every snapshot and the moments between them
      --drills          with when each was last proved by tb-verify
      --history ID      in which snapshots an object is, and how it changed
      --find NAME       where a bare name or a glob is, in all snapshots
      --every-host      what every host of the bucket stored, a line for each carrier
      --stored          what the snapshots hold instead of what the sources hold
      --s3-prefix NAME  with one of these three: of another host, below its s3_prefix
      --store NAME      with one of these three: the copies in this further store
      --as-of TIME      with one of these three: the bucket as it was then
      --json            records instead of a table
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

Reads records where standard input is a pipe or a file; else it discovers by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from three_backup import pipe
from three_backup.deciding import discovery
from three_backup.errors import UsageError, readable
from three_backup.keeping import moments
from three_backup.listing import in_time, tables
from three_backup.listing.every_host import catalogs_of_every_host, show_every_host
from three_backup.listing.listed import Listed, Wanted, look_up
from three_backup.model.objects import selected
from three_backup.model.records import Record
from three_backup.pipe import Invocation, is_stored
from three_backup.restoring.nothing_found import Whereabouts
from three_backup.restoring.unmatched import Selection, among, at_sources, in_catalogs, reported
from three_backup.sources import SOURCES
from three_backup.watching.proved import Proved

_OF_THE_TABLE = ("--stages", "--snapshots", "--drills")
_EXCLUDED = {
    "--history": (*_OF_THE_TABLE, "--select", "--every-host"),
    "--find": _OF_THE_TABLE,
    "--every-host": (*_OF_THE_TABLE, "--s3-prefix", "--store", "--as-of"),
}


@dataclass(frozen=True, slots=True)
class Args:
    wanted: Wanted  # --stages, --snapshots, --drills
    stored: bool
    history: str | None
    find: str | None
    every_host: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        wanted = Wanted(
            stages=bool(arguments["--stages"]),
            snapshots=bool(arguments["--snapshots"]),
            drills=bool(arguments["--drills"]),
        )
        history, find = (
            None if arguments[option] is None else readable(arguments[option])
            for option in ("--history", "--find")
        )
        every_host = bool(arguments["--every-host"])
        _check_choice(arguments)
        looks_back = history is not None or find is not None or every_host
        stored = looks_back or is_stored(arguments)
        return cls(wanted, stored, history, find, every_host)


def _check_choice(arguments: Mapping[str, Any]) -> None:
    """Raise UsageError for options that would be of no effect together."""
    for option, others in _EXCLUDED.items():
        for other in others:
            if arguments[option] and arguments[other]:
                raise UsageError("usage", f"{option} and {other} exclude one another", "give one")


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    if not invocation.is_piped:
        invocation.warn()
    if args.history is not None:
        in_time.show_history(invocation, args.history)
    elif args.find is not None:
        every = args.every_host
        catalogs = catalogs_of_every_host(invocation) if every else invocation.catalogs
        in_time.show_found(invocation, args.find, catalogs)
    elif args.every_host:
        show_every_host(invocation)
    else:
        _list(invocation, args)


def _list(invocation: Invocation, args: Args) -> None:
    empty = Whereabouts(invocation.catalogs).nothing if args.stored else None
    if empty is not None and not invocation.patterns:
        invocation.say(str(empty))
        return
    proved = Proved(invocation.clock())
    records = _records(invocation, stored=args.stored)
    listed = look_up(invocation, args.wanted, proved, records)
    if invocation.json:
        for entry in listed:
            for record in entry.records:
                invocation.emit(_with_snapshots(record, entry))
    else:
        tables.show(invocation, args.wanted, list(listed), proved)


def _records(invocation: Invocation, *, stored: bool) -> Iterator[Record]:
    if stored:
        types = [source.type for source in SOURCES]
        found = discovery.stored(invocation.patterns, invocation.catalogs, types)
        yield from reported(invocation, found, in_catalogs(invocation.catalogs))
    elif invocation.is_piped:
        yield from _fed(invocation)
    else:
        live = discovery.live(invocation.patterns, invocation.configuration, invocation.say)
        yield from reported(invocation, live, at_sources(invocation.configuration))


def _fed(invocation: Invocation) -> Iterator[Record]:
    selection, others = Selection(invocation.patterns), list[str]()
    for record in invocation.records():
        selection.see(record)
        if record.failed or selected(invocation.patterns, record.id):
            yield record
        else:
            others.append(record.id)
    hint = "no other records came in" if others else tables.BY_ITSELF
    for record, error in selection.failures(among(others, hint)):
        yield invocation.fail(record, error)


def _with_snapshots(record: Record, entry: Listed) -> Record:
    if record.failed or not entry.snapshots:
        return record
    known = {} if entry.log is None else {"moments": moments.described(entry.log)}
    return record.with_fields(snapshots=entry.snapshots, **known)
