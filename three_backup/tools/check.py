"""tb-check - try out what backups need, in S3 and at the sources

Usage:
  tb-check [--select PATTERN]... [options]

Options:
  -s, --select PATTERN  only sources that a pattern reaches, s3 or host; may be repeated
      --recovery-sheet  print what a new host needs, keys included; check nothing
      --json            records instead of text
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

Writes some small keys and one of 5 MB below check/ in the prefix, has ClickHouse write its
smallest object there, and removes all that. Nothing is changed at the sources.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from three_backup import pipe
from three_backup.deciding.discovery import is_left_out, reachable
from three_backup.errors import BackupError, ConfigurationError, Exit, NothingFoundError
from three_backup.host.machine import this_host
from three_backup.keeping import keeping_of
from three_backup.model.findings import Finding, Mark, bad, note, tried
from three_backup.model.objects import selected
from three_backup.model.records import of_selector, of_source
from three_backup.model.schedule import host_zone
from three_backup.model.storage import Storage
from three_backup.pipe import Invocation, translated
from three_backup.restoring import key_use
from three_backup.restoring.recovery_sheet import recovery_sheet
from three_backup.restoring.unmatched import absent, unknown
from three_backup.s3.probe import probe
from three_backup.s3.reaching import without_tls
from three_backup.screen import formats
from three_backup.screen.findings import finding_text
from three_backup.screen.terminal import Screen
from three_backup.sources import SOURCES
from three_backup.sources.base import Source
from three_backup.sources.jobs import CheckJob

Tell = Callable[[Finding], None]

_HOST, _S3 = "host", "s3"
_A_LITTLE = 1 << 16
"""Bytes that are written to see whether the disk takes any: as much as small manifests have."""


@dataclass(frozen=True, slots=True)
class _Look:
    """Something to look at."""

    id: str
    heading: str
    at: Callable[[Tell], None]  # looks at it, and tells what it finds


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> Exit:
    if invocation.arguments["--recovery-sheet"]:
        return _print_sheet(invocation)
    invocation.warn()
    marks: set[Mark] = set()

    def tell(look_id: str, finding: Finding) -> None:
        marks.add(finding.mark)
        _show(invocation, look_id, finding)

    for look in _looks(invocation):
        if not invocation.json:
            invocation.write(f"{look.heading}\n")
        look.at(partial(tell, look.id))
    unmatched = list(_unmatched(invocation.patterns))
    for pattern, error in unmatched:
        record = invocation.fail(of_selector(pattern), error)
        if invocation.json:
            invocation.emit(record)
    return Exit.FAILED if unmatched or Mark.BAD in marks else Exit.OK


def _print_sheet(invocation: Invocation) -> Exit:
    catalogs = [catalog for catalog in invocation.catalogs if catalog.storage.bucket]
    if not catalogs:
        raise ConfigurationError(
            "config.no_bucket",
            "no bucket is configured, so that nothing could come back",
            "set s3_bucket",
        )
    zone = host_zone(os.environ)
    configuration, now = invocation.configuration, invocation.clock()
    invocation.write(recovery_sheet(configuration, catalogs, invocation.host, now, zone))
    return Exit.OK


def _unmatched(patterns: Sequence[str]) -> Iterator[tuple[str, NothingFoundError]]:
    """Yield the patterns that reach nothing to check, and why."""
    names = (_HOST, _S3, *(source.type for source in SOURCES))
    for pattern in patterns:
        reached = bool(reachable((pattern,))) or selected((pattern,), _HOST)
        if not reached and not selected((pattern,), _S3):
            yield pattern, absent(pattern) or unknown(pattern, names)


def _looks(invocation: Invocation) -> Iterator[_Look]:
    if selected(invocation.patterns, _HOST):
        yield _Look(_HOST, "this host", partial(_look_at_host, invocation))
    if selected(invocation.patterns, _S3):
        configuration = invocation.configuration
        for storage in (*configuration.storages(), *configuration.places_of_copies()):
            yield _Look(_S3, _heading(storage), partial(_look_at_s3, invocation, storage))
    for source in reachable(invocation.patterns):
        if not invocation.patterns and is_left_out(source, invocation.configuration):
            continue
        yield _Look(source.type, source.type, partial(_look_at, invocation, source))


def _heading(storage: Storage) -> str:
    which = f"store {storage.store}: " if storage.store else ""
    return f"{which}S3 at {storage.endpoint or 'AWS'}, bucket {storage.bucket or '(none)'}"


def _look_at_host(invocation: Invocation, tell: Tell) -> None:
    configuration = invocation.configuration
    for folder in dict.fromkeys(storage.local_dir for storage in configuration.storages()):
        tell(tried("local_dir", partial(_writable, folder)))
    for source in SOURCES:
        named = any(rule.pattern.startswith(source.type) for rule in configuration.rules)
        if named and not any(map(shutil.which, source.programs)):
            programs = " or ".join(source.programs)
            sentence = f"{programs} is not on PATH, so that nothing of {source.type} is backed up"
            tell(note("programs", sentence, "install it or set PATH"))


@translated()
def _writable(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with TemporaryFile(dir=folder) as file:
        file.write(bytes(_A_LITTLE))
        file.flush()
        free = shutil.disk_usage(folder).free
    return f"{folder} can be written, {formats.size(free)} are free"


def _look_at_s3(invocation: Invocation, storage: Storage, tell: Tell) -> None:
    if storage.bucket is None:
        tell(note("bucket", "there is none, so that snapshots stay here", "set s3_bucket"))
        return
    for finding in without_tls(storage):
        tell(finding)
    marks: set[Mark] = set()

    def told(finding: Finding) -> None:
        marks.add(finding.mark)
        tell(finding)

    probe(storage, this_host(), invocation.clock, told)
    if Mark.BAD not in marks:  # else each request might wait as long
        for finding in key_use.findings(invocation.catalog(storage)):
            tell(finding)


def _look_at(invocation: Invocation, source: Source, tell: Tell) -> None:
    settings = invocation.configuration.source_settings(source.type)
    catalog = invocation.catalog(settings.storage)
    try:
        job = CheckJob(settings, invocation.clock())
        for finding in keeping_of(source.type).check(job, catalog):
            tell(finding)
    except BackupError as error:
        tell(bad(source.type, error))


def _show(invocation: Invocation, look_id: str, finding: Finding) -> None:
    if invocation.json:
        fields = {"mark": finding.mark, "subject": finding.subject, "sentence": finding.sentence}
        remedy = {"remedy": finding.remedy} if finding.remedy else {}
        invocation.write(of_source(look_id, look_id, finding={**fields, **remedy}).to_line())
        return
    screen = Screen(invocation.width, invocation.coloured)
    invocation.write(finding_text(finding, screen))
