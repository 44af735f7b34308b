"""tb-discover - list the objects that can be backed up

Usage:
  tb-discover [--select PATTERN]... [options]

Options:
  -s, --select PATTERN  only objects whose id matches; may be repeated
      --stored          what the snapshots hold instead of what the sources hold
      --s3-prefix NAME  with --stored: of another host, below its s3_prefix
      --store NAME      with --stored: the copies in this further store
      --as-of TIME      with --stored: the bucket as it was then, by its versions
      --json            records on a terminal, too, in place of a table
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from three_backup import pipe
from three_backup.deciding import discovery
from three_backup.model.objects import ObjectId, has_wildcard
from three_backup.pipe import Invocation, is_stored
from three_backup.restoring.nothing_found import Whereabouts
from three_backup.restoring.unmatched import at_sources, in_catalogs, reported
from three_backup.sources import SOURCES
from three_backup.watching.forms import FOUND
from three_backup.watching.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Args:
    stored: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        return cls(stored=is_stored(arguments))


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    invocation.warn()
    args = Args.of(invocation.arguments)
    invocation.present(Sheet(FOUND))
    if args.stored:
        _discover_stored(invocation)
    else:
        _discover_live(invocation)


def _discover_live(invocation: Invocation) -> None:
    configuration = invocation.configuration
    seen, failed = [], False
    found = discovery.live(invocation.patterns, configuration, invocation.say)
    for record in reported(invocation, found, at_sources(configuration)):
        failed |= record.failed
        seen.append(record.id)
        invocation.emit(record)
    if not invocation.patterns and not failed:
        _warn_of_idle_sections(invocation, seen)


def _discover_stored(invocation: Invocation) -> None:
    catalogs = invocation.catalogs
    empty = Whereabouts(catalogs).nothing
    if empty is not None and not invocation.patterns:
        invocation.say(str(empty))
    found = discovery.stored(invocation.patterns, catalogs, [source.type for source in SOURCES])
    for record in reported(invocation, found, in_catalogs(catalogs)):
        invocation.emit(record)


def _warn_of_idle_sections(invocation: Invocation, seen: list[str]) -> None:
    configuration = invocation.configuration
    types = [
        source.type
        for source in discovery.reachable(())
        if not discovery.is_left_out(source, configuration)
    ]
    for pattern in configuration.unmatched(map(ObjectId.parse, seen), types):
        remedy = "correct or remove it" if has_wildcard(pattern) else "check its spelling"
        invocation.say(f"configuration: the section {pattern!r} matched nothing; {remedy}")
