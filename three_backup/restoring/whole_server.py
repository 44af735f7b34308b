"""Restores a whole server from one snapshot, for `tb-restore --pgdata`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import UsageError
from three_backup.model.objects import Carrier, selected
from three_backup.model.records import Record, of_source
from three_backup.pipe import Invocation
from three_backup.restoring.foresight import Foresight
from three_backup.restoring.moments import LoggedCarrier, MomentFinder
from three_backup.restoring.nothing_found import Whereabouts
from three_backup.restoring.snapshot_choice import Choice, whole_snapshots
from three_backup.restoring.snapshot_finder import older_than
from three_backup.sources import FOLDERS
from three_backup.sources.base import FolderSource, Planned, Restored
from three_backup.sources.jobs import Landing, WholeJob

OF_OBJECTS = (
    "--into",
    "--level1",
    "--level2",
    "--level3",
    "--level1-suffix",
    "--level2-suffix",
    "--level3-suffix",
    "--overwrite",
    "--no-owner",
    "--no-acl",
    "--without-devices",
    "--unchecked",
    "--sql-before",
)
"""The options that only make sense for objects."""


@dataclass(frozen=True, slots=True)
class WholeRequest:
    """A request to restore a whole server; restore_whole checks it."""

    pattern: tuple[str, ...]
    choice: Choice
    pgdata: Path
    pgdata_owner: str | None
    tablespace_mapping: tuple[str, ...]
    of_objects: tuple[str, ...]  # those of OF_OBJECTS that are given
    dry_run: bool
    verify: bool = False  # have the server's own program compare all bytes
    moments: MomentFinder | None = None  # finds the moment; None: that of a snapshot


@dataclass(frozen=True, slots=True)
class _Server:
    """A server that can be restored as a whole, and its newest snapshot that may be restored."""

    source: FolderSource
    snapshot: Snapshot
    landing: Landing | None = None  # the moment to restore, if it is not that of the snapshot
    missed: datetime | None = None  # the wanted time, if the snapshot is older

    @property
    def notes(self) -> list[str]:
        return [older_than(self.missed, self.snapshot)] if self.missed else []


def restore_whole(
    invocation: Invocation,
    catalogs: Sequence[Catalog],
    request: WholeRequest,
    foresight: Foresight,
) -> None:
    """Restore the one server that the patterns select, and emit its record."""
    _check(request)
    moved = dict(map(_mapping, request.tablespace_mapping))
    server = _selected(catalogs, request)
    carrier = server.snapshot.carrier
    record = of_source(carrier, server.source.type, carrier=carrier)

    def restoring(before: Record) -> Record:
        record = _restored(invocation, request, server, moved, before)
        return foresight.seen(record, server.snapshot.catalog)

    invocation.emit(invocation.attempt(record, restoring))


def _check(request: WholeRequest) -> None:
    if request.of_objects:
        raise UsageError(
            "restore.choice",
            f"--pgdata and {request.of_objects[0]} exclude one another: all comes back as it was",
            "restore tables into a running server, or a whole cluster with --pgdata",
        )
    if not request.pattern:
        raise UsageError(
            "restore.pattern", "--pgdata needs to know of which cluster", "add 'postgres/*'"
        )


def _mapping(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (equals and Path(old).is_absolute() and Path(new).is_absolute()):
        raise UsageError(
            "restore.mapping", f"{text!r} does not map a folder", "write /old/folder=/new/folder"
        )
    return old.rstrip("/"), str(Path(new))


def _selected(catalogs: Sequence[Catalog], request: WholeRequest) -> _Server:
    patterns, choice = request.pattern, request.choice
    servers = list(_servers(catalogs, request))
    if not servers:
        if early := choice.too_early(", ".join(patterns), _oldest(catalogs, patterns)):
            raise early
        raise Whereabouts(catalogs).not_found(
            "restore.not_found",
            f"{', '.join(patterns)}: no snapshot of a whole cluster that may be restored is "
            "selected by that",
            "name a cluster, not tables ('postgres/*', or postgres/cluster/ID); tb-list --stored "
            "--snapshots shows what there is",
        )
    if len(servers) > 1:
        carriers = [server.snapshot.carrier for server in servers]
        raise UsageError(
            "restore.clusters",
            f"there are snapshots of {' and '.join(carriers)}",
            f"name one of them, as {carriers[0]}",
        )
    return servers[0]


def _servers(catalogs: Sequence[Catalog], request: WholeRequest) -> Iterator[_Server]:
    for catalog, source, carrier in _clusters(catalogs, request.pattern):
        moments = request.moments
        if moments is not None and catalog.s3 is not None:
            found = moments.whole(LoggedCarrier(source, catalog, carrier), request.pattern[0])
            if found is not None:
                yield _Server(source, *found)
                continue
        if newest := next(request.choice.of_carrier(catalog, carrier), None):
            missed = None if moments is None else moments.missed(newest)
            yield _Server(source, newest, missed=missed)


def _oldest(catalogs: Sequence[Catalog], patterns: Sequence[str]) -> Iterator[Snapshot]:
    for catalog, _, carrier in _clusters(catalogs, patterns):
        yield from islice(whole_snapshots(catalog, carrier), 1)


def _clusters(
    catalogs: Sequence[Catalog], patterns: Sequence[str]
) -> Iterator[tuple[Catalog, FolderSource, Carrier]]:
    for catalog in catalogs:
        for source in FOLDERS:
            for carrier in catalog.carriers(source.type):
                if selected(patterns, carrier):
                    yield catalog, source, carrier


def _restored(
    invocation: Invocation,
    request: WholeRequest,
    server: _Server,
    moved: Mapping[str, str],
    record: Record,
) -> Record:
    started, chain = time.monotonic(), request.choice.chain(server.snapshot)
    total = sum(files.manifest.stored_size for files in chain)
    directory = request.pgdata.absolute()
    with ExitStack() as stack:
        if not request.dry_run:
            stack.enter_context(server.snapshot.undisturbed())
        job = WholeJob(
            chain=chain,
            directory=directory,
            moved=moved,
            owner=request.pgdata_owner,
            source_settings=invocation.configuration.source_settings(server.source.type),
            advance=stack.enter_context(invocation.bar(server.snapshot.carrier, total)),
            say=invocation.say,
            landing=server.landing,
            store=server.snapshot.catalog.s3,
            verify=request.verify,
            exact=request.moments is not None and request.moments.exact,
        )
        if request.dry_run:
            planned = server.source.plan_whole(job)
            links = [str(files.manifest.snapshot) for files in chain]
            fields = _fields(server, directory, planned)
            if server.landing is not None and request.moments is not None:
                look = request.moments.revive(server.snapshot, server.landing)
                fields["moment"] = server.source.reach(look)
            return record.with_fields(would_restore={**fields, "chain": links})
        mended = server.snapshot.catalog.mended.counted()
        restored = server.source.restore_whole(job)
    for note in (*server.notes, *restored.notes):
        invocation.say(f"{directory}: {note}")
    seconds = round(time.monotonic() - started, 3)
    fields = _fields(server, directory, restored)
    return record.with_fields(restored={**fields, **mended(), "seconds": seconds})


def _fields(server: _Server, directory: Path, restored: Restored | Planned) -> dict[str, Any]:
    notes = [*server.notes, *restored.notes]
    return {
        "target": str(directory),
        "snapshot": str(server.snapshot.id),
        **restored.facts,
        **({"notes": notes} if notes else {}),
    }
