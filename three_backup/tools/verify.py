"""tb-verify - prove that snapshots come back, by restoring them into a scratch place

Usage:
  tb-verify [options] [PATTERN]...

Options:
      --sample N        only N of the objects, chosen at random
      --oldest-first    begin with what was proved longest ago, or never
      --between         a moment between snapshots, drawn at random, by PostgreSQL's log
      --content         read every row to its end, and compare with the last drill
      --sign            adopt what manifest_key did not sign, once all of it was read
      --read-only       read all that is stored and compare hashes, restore nothing
      --store NAME      prove the copies in this further store
      --as-of TIME      prove what the bucket held then, by the versions that it keeps
      --json            records on a terminal, too, in place of a table
      --progress WHEN   draw a bar: auto, always or never [default: auto]
  -c, --config FILE     the configuration
      --env-file FILE   variables instead of .env.restore and .env beside it
  -h, --help            show this
      --version         show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. Adds drilled.
"""

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.carriers import record_within
from three_backup.catalog.drills import Drill, Proof
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError, BusyError, UnreachableError, UsageError, readable
from three_backup.keeping import keeping_of
from three_backup.model.local_time import spoken
from three_backup.model.objects import ObjectId
from three_backup.model.records import error_fields
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import CarriedObject, exactly
from three_backup.pipe import Invocation, sample_size, translated
from three_backup.restoring.adopting import adopted
from three_backup.restoring.drawn_moments import Place, drawn
from three_backup.restoring.drill_memory import Memory, compared
from three_backup.restoring.drill_requests import DrillRequest, asked_for
from three_backup.restoring.restore_jobs import RestoreJobs
from three_backup.restoring.snapshot_choice import Choice
from three_backup.sources.base import AbsentError, Restored
from three_backup.sources.jobs import DrillJob
from three_backup.watching.forms_of_proof import VERIFIED
from three_backup.watching.sheet import Sheet

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Args:
    pattern: tuple[str, ...]
    sample: int | None
    oldest_first: bool
    between: bool
    content: bool
    read_only: bool
    sign: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        if arguments["--sign"] and not arguments["PATTERN"]:
            raise UsageError(
                "verify.sign", "--sign adopts nothing that is not named", "name all: '*'"
            )
        for option in ("--store", "--as-of"):
            if arguments["--sign"] and arguments[option]:
                raise UsageError(
                    "verify.sign",
                    f"--sign and {option} exclude one another: that is only read",
                    "adopt the snapshots, and copy them anew with tb-copy",
                )
        if arguments["--between"] and arguments["--read-only"]:
            raise UsageError(
                "verify.choice",
                "--between and --read-only exclude one another",
                "a moment between snapshots is known only once its log was replayed",
            )
        return cls(
            pattern=tuple(map(readable, arguments["PATTERN"])),
            sample=sample_size(arguments["--sample"]),
            oldest_first=bool(arguments["--oldest-first"]),
            between=bool(arguments["--between"]),
            content=bool(arguments["--content"]),
            read_only=bool(arguments["--read-only"]),
            sign=bool(arguments["--sign"]),
        )

    @property
    def proof(self) -> Proof:
        return Proof.MOMENT if self.between else Proof.SNAPSHOT


def main() -> int:
    return pipe.main(__doc__, run, restores=True)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    invocation.warn()
    if not args.sign:
        invocation.present(Sheet(VERIFIED))
    catalogs = [invocation.catalog(storage) for storage in invocation.configuration.storages()]
    for catalog in catalogs:
        _ = catalog.bucket  # raises without a bucket: what lies in S3 is to be proved
        catalog.leave_out_local()
    if args.sign:
        for record, error in adopted(invocation, catalogs, args.pattern):
            invocation.emit(record if error is None else invocation.fail(record, error))
        return
    memory = Memory(invocation)
    groups: dict[Any, list[DrillRequest]] = {}
    for request in _chosen(args, memory, asked_for(invocation, catalogs, args.pattern)):
        groups.setdefault(request.snapshot.name, []).append(request)
    for group in groups.values():
        _verify(invocation, args, memory, group)


def _chosen(args: Args, memory: Memory, requests: list[DrillRequest]) -> list[DrillRequest]:
    if args.oldest_first:
        requests = sorted(requests, key=lambda request: _proved(memory, request, args.proof))
    elif args.sample is not None:
        random.SystemRandom().shuffle(requests)
    return requests[: args.sample]


def _proved(memory: Memory, request: DrillRequest, proof: Proof) -> datetime:
    return memory.of(request.snapshot.catalog).last_good(request.record.id, proof) or _NEVER


def _verify(
    invocation: Invocation, args: Args, memory: Memory, group: Sequence[DrillRequest]
) -> None:
    """Drill the objects of one snapshot together; emit each record once it has an outcome."""
    records = {request.record.object: request.record for request in group}
    began, snapshot = time.monotonic(), group[0].snapshot
    try:
        with translated():
            place = _place(invocation, args, snapshot)
    except BackupError as error:
        for record in records.values():
            invocation.emit(invocation.fail(record, error))
        return
    for object_id, outcome in _outcomes(invocation, args, place, list(records)):
        record = records.get(object_id) or record_within(snapshot.carrier, object_id)
        seconds = round(time.monotonic() - began, 3)
        if isinstance(outcome, AbsentError) and place.at is not None:
            invocation.say(
                f"{outcome.message}: nothing is proved of it (drill of {spoken(place.at)})"
            )
            invocation.emit(record)
            continue
        told = _told(invocation, args, memory, place, object_id, outcome, seconds)
        if isinstance(told, BackupError):
            invocation.emit(invocation.fail(record, told))
        else:
            invocation.emit(record.with_fields(drilled=told.fields))


def _place(invocation: Invocation, args: Args, newest: Snapshot) -> Place:
    """Return what is to be restored. Raises BackupError where no log leads to any moment."""
    if not args.between:
        return Place(newest)
    revive = RestoreJobs(invocation, Choice(), {}, overwrite=False).revive
    return drawn(newest, revive, random.SystemRandom(), host_zone(os.environ))


def _outcomes(
    invocation: Invocation, args: Args, place: Place, objects: Sequence[ObjectId]
) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
    """Yield the outcome of each object; a failure of the drill is that of all objects left."""
    left = dict.fromkeys(objects)
    try:
        with translated():
            for object_id, outcome in _drilled(invocation, args, place, objects):
                left.pop(object_id, None)
                yield object_id, outcome
    except BackupError as error:
        yield from ((object_id, error) for object_id in left)


def _drilled(
    invocation: Invocation, args: Args, place: Place, objects: Sequence[ObjectId]
) -> Iterator[tuple[ObjectId, Restored | BackupError]]:
    snapshot, source_type = place.snapshot, objects[0].type
    catalog = snapshot.catalog
    with ExitStack() as stack:
        stack.enter_context(snapshot.undisturbed())
        progress = stack.enter_context(invocation.bar(snapshot.carrier, None))
        chain = Choice().chain(snapshot, objects)
        carried = {known.id: known for known in chain[-1].manifest.objects}
        settings = invocation.configuration.source_settings(source_type)
        job = DrillJob(
            objects=[carried.get(wanted, CarriedObject(wanted, 0)) for wanted in objects],
            chain=chain,
            content=args.content,
            name=hashlib.sha256(invocation.host_id.encode()).hexdigest()[:12],
            source_settings=settings,
            work_dir=settings.scratch_dir or catalog.storage.local_dir / "scratch",
            advance=progress,
            say=invocation.say,
            landing=place.landing,
            store=catalog.s3,
        )
        restorer = keeping_of(source_type).restorer(catalog)
        prove = restorer.read_through if args.read_only else restorer.drill
        mended = catalog.mended.counted()
        for object_id, outcome in prove(job):
            if isinstance(outcome, Restored):
                moved = {"bytes_moved": progress.moved, **mended()}
                outcome = replace(outcome, facts={**outcome.facts, **moved})
            yield object_id, outcome


def _told(
    invocation: Invocation,
    args: Args,
    memory: Memory,
    place: Place,
    object_id: ObjectId,
    outcome: Restored | BackupError,
    seconds: float,
) -> Drill | BackupError:
    """Return what the record shall say, and remember the drill.

    Not remembered is reading alone, which proves less, and a drill that could not be tried.
    """
    name, catalog = str(place.snapshot.id), place.snapshot.catalog
    if isinstance(outcome, Restored) and not args.read_only and not args.between:
        outcome = compared(object_id, name, outcome, memory.before(catalog, object_id))
    drawn_at = {} if place.at is None else {"at": exactly(place.at)}
    if isinstance(outcome, Restored):
        facts = {"how": "read" if args.read_only else "restored", **drawn_at, **outcome.facts}
    else:
        facts = {**drawn_at, "error": error_fields(invocation.name, outcome)}
    drill = Drill(object_id, name, invocation.clock(), seconds, facts, args.proof)
    if not args.read_only and not isinstance(outcome, BusyError | UnreachableError):
        memory.remember(catalog, drill, good=isinstance(outcome, Restored))
    if isinstance(outcome, BackupError):
        return place.told(outcome)
    return drill
