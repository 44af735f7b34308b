"""Finds objects as they were at a moment between snapshots, by the log of their server."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.snapshot import Snapshot
from three_backup.errors import BackupError, NothingFoundError, UsageError
from three_backup.model.moment import Moment
from three_backup.model.objects import Carrier, ObjectId, can_match_below, has_wildcard
from three_backup.model.snapshots import CarriedObject, Manifest
from three_backup.restoring.snapshot_choice import Choice, whole_snapshots
from three_backup.restoring.snapshot_finder import Broken, Finder, Held
from three_backup.screen.formats import duration
from three_backup.sources import FOLDERS
from three_backup.sources.base import FolderSource
from three_backup.sources.jobs import Landing, MomentJob, RestoreJob

_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", re.ASCII)
_XID = re.compile(r"[1-9][0-9]{0,19}", re.ASCII)

Revive = Callable[[Snapshot, Landing], RestoreJob]
"""Returns a job that revives a landing, to look at what was there. It wants no object."""


def moment_of(arguments: Mapping[str, Any], choice: Choice) -> Moment | None:
    """Return the moment that --at, --lsn, --xid or --before-drop names; None without them.

    Raises UsageError for several of them, and for one that is malformed.
    """
    options = ("--at", "--snapshot", "--lsn", "--xid", "--before-drop")
    given = [option for option in options if arguments[option]]
    if len(given) > 1:
        raise UsageError(
            "restore.choice", f"{given[0]} and {given[1]} exclude one another", "give one"
        )
    lsn, xid = arguments["--lsn"], arguments["--xid"]
    if lsn is not None and not _LSN.fullmatch(lsn):
        raise UsageError(
            "restore.lsn", f"{lsn!r} is not a position", "write it as the server does: 0/16C3B28"
        )
    if xid is not None and not _XID.fullmatch(xid):
        raise UsageError(
            "restore.xid", f"{xid!r} is no number of a transaction", "write it as 12345"
        )
    if not given or given == ["--snapshot"]:
        return None
    return Moment(choice.at, lsn, xid and int(xid), bool(arguments["--before-drop"]))


class LoggedCarrier(NamedTuple):
    """A carrier whose server's log is in S3."""

    source: FolderSource
    catalog: Catalog
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class MomentFinder:
    """Finds objects at a moment; where no log leads there, in the newest snapshot before it."""

    catalogs: Sequence[Catalog]
    finder: Finder
    moment: Moment
    revive: Revive
    exact: bool  # an older snapshot will not do
    _landings: dict[Carrier, Landing | BackupError | None] = field(default_factory=dict)
    _drops: dict[Carrier, Callable[[str], Landing | None]] = field(default_factory=dict)

    def one(self, object_id: ObjectId) -> Held:
        """Return the object. Raises BackupError where it cannot be restored."""
        found: Held | None = None
        failure: BackupError | None = None
        for logged in self._logged(str(object_id)):
            try:
                held = self._held(logged, object_id)
            except BackupError as error:  # another cluster may have it
                failure = error
                continue
            # Of several clusters that is meant which had the object at the snapshot before.
            if held is not None and (found is None or held.object.facts):
                found = held
        if found is not None:
            return found
        if failure is not None:
            raise failure
        self._refuse_without_log(str(object_id))
        nearest = self._as_of_snapshot(self.finder.one(object_id))
        if isinstance(nearest, Held):
            return nearest
        raise nearest[1]

    def all(self, pattern: str) -> list[Held | Broken]:
        """Return the objects that the pattern selects. Raises BackupError where there are none."""
        if not has_wildcard(pattern) and Carrier(pattern).is_object:
            object_id = ObjectId.parse(pattern)
            try:
                return [self.one(object_id)]
            except BackupError as error:
                return [(Carrier(object_id), error)]
        found: list[Held | Broken] = []
        logged = set[Carrier]()
        for place in self._logged(pattern):
            try:
                landing = self._landing(place, pattern)
            except BackupError as error:
                logged.add(place.carrier)
                found.append((place.carrier, error))
                continue
            if landing is not None:
                logged.add(place.carrier)
                found += self._matching(place, landing, pattern)
        if not logged:
            self._refuse_without_log(pattern)
            return [self._as_of_snapshot(held) for held in self.finder.all(pattern)]
        with suppress(BackupError):  # that there is nothing else
            others = [held for held in self.finder.all(pattern) if _carrier(held) not in logged]
            found += map(self._as_of_snapshot, others)
        if not found:
            raise NothingFoundError(
                "restore.not_found",
                f"{pattern}: there was nothing of that name at {self.moment}",
                self.finder.near(pattern),
            )
        return found

    def whole(self, logged: LoggedCarrier, pattern: str) -> tuple[Snapshot, Landing] | None:
        """Return where a whole server is found at the moment; None if no log leads there."""
        landing = self._landing(logged, pattern)
        if landing is not None:
            return _snapshot(logged, landing), landing
        self._refuse_without_log(logged.carrier)
        return None

    def missed(self, snapshot: Snapshot) -> datetime | None:
        """Return the wanted time if the snapshot is older, else None.

        Raises BackupError if it is older, and only that very time will do.
        """
        wanted = self.moment.time
        if wanted is None:
            return None
        older = (wanted - snapshot.id.time).total_seconds()
        if not older:  # == is never true within an hour that occurs twice
            return None
        if self.exact:
            raise BackupError(
                "restore.not_exact",
                f"{snapshot.carrier}: no log leads to that moment; the newest snapshot before it "
                f"is {snapshot.id}, {duration(older)} older",
                "leave out --exact to restore that one",
            )
        return wanted

    def _as_of_snapshot(self, found: Held | Broken) -> Held | Broken:
        """Return what comes out of a snapshot before the moment; an error if that will not do."""
        if not isinstance(found, Held):
            return found
        try:
            return replace(found, missed=self.missed(found.snapshot))
        except BackupError as error:
            return Carrier(found.object.id), error

    def _logged(self, pattern: str) -> Iterator[LoggedCarrier]:
        for catalog in self.catalogs:
            for source in FOLDERS:
                if catalog.s3 is not None and can_match_below(pattern, source.type):
                    for carrier in catalog.carriers(source.type):
                        yield LoggedCarrier(source, catalog, carrier)

    def _held(self, logged: LoggedCarrier, object_id: ObjectId) -> Held | None:
        landing = self._landing(logged, str(object_id))
        if landing is None:
            return None
        snapshot = _snapshot(logged, landing)
        carried = (carried for carried in snapshot.manifest().objects if carried.id == object_id)
        known = next(carried, CarriedObject(object_id, 0, {}))
        return Held(known, snapshot, landing=landing)

    def _matching(
        self, logged: LoggedCarrier, landing: Landing, pattern: str
    ) -> Iterator[Held | Broken]:
        snapshot = _snapshot(logged, landing)
        try:
            for carried in logged.source.objects_then(self.revive(snapshot, landing), pattern):
                yield Held(carried, snapshot, landing=landing)
        except BackupError as error:
            yield logged.carrier, error

    def _landing(self, logged: LoggedCarrier, pattern: str) -> Landing | None:
        """Return the landing on the carrier, None if no log leads there. Raises BackupError."""
        if self.moment.before_drop:
            if logged.carrier not in self._drops:
                self._drops[logged.carrier] = logged.source.drops(self._job(logged))
            return self._drops[logged.carrier](pattern)
        if logged.carrier not in self._landings:
            try:
                self._landings[logged.carrier] = logged.source.landing(self._job(logged))
            except BackupError as error:
                self._landings[logged.carrier] = error
        landing = self._landings[logged.carrier]
        if isinstance(landing, BackupError):
            raise landing
        return landing

    def _job(self, logged: LoggedCarrier) -> MomentJob:
        return MomentJob(
            carrier=logged.carrier,
            store=logged.catalog.bucket,
            manifests=list(_readable(logged)),
            moment=self.moment,
            revive=lambda landing: self.revive(_snapshot(logged, landing), landing),
        )

    def _refuse_without_log(self, what: str) -> None:
        """Raise UsageError for a moment that only a log knows."""
        if self.moment.time is None:
            raise UsageError(
                "restore.no_log",
                f"{what}: no log of its server is archived, so that {self.moment} is not known",
                "only PostgreSQL's log is (tb-wal); use --at or --snapshot",
            )


def _readable(logged: LoggedCarrier) -> Iterator[Manifest]:
    """Yield the manifests of the snapshots that can be restored, oldest first."""
    for snapshot in whole_snapshots(logged.catalog, logged.carrier):
        with suppress(BackupError):
            yield snapshot.manifest()


def _snapshot(logged: LoggedCarrier, landing: Landing) -> Snapshot:
    for snapshot in whole_snapshots(logged.catalog, logged.carrier):
        if snapshot.id == landing.snapshot:
            return snapshot
    raise BackupError(
        "catalog.removed", f"{logged.carrier}: snapshot {landing.snapshot} was removed meanwhile"
    )


def _carrier(found: Held | Broken) -> Carrier:
    return found.snapshot.carrier if isinstance(found, Held) else found[0]
