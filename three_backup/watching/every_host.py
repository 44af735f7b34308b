"""How the carriers of the other hosts stand that share our buckets."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.every_host import Neighbour
from three_backup.deciding.due import Clock
from three_backup.errors import BackupError, UnreachableError
from three_backup.model.objects import Carrier, selected
from three_backup.model.snapshots import CarriedObject
from three_backup.sources import SOURCES, source_of
from three_backup.watching import health
from three_backup.watching.health import AgeLimits, Health, Level
from three_backup.watching.overview import WatchedCarrier, objects_of
from three_backup.watching.regularity import lateness


@dataclass(frozen=True, slots=True)
class OfHost:
    """A carrier of a host; of one that stored nothing, or cannot be read, a line without."""

    host: str  # its s3_prefix
    watched: WatchedCarrier
    unreadable: bool = False  # what the host stored

    @property
    def troubles(self) -> list[str]:
        """Sentences, each with the host and the carrier first."""
        about = ": ".join(filter(None, (self.host, self.watched.carrier)))
        own = f"{self.watched.carrier}: "
        return [f"{about}: {told.replace(own, '', 1)}" for told in self.watched.health.troubles]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What to look at, and how."""

    patterns: Sequence[str]
    patience: AgeLimits
    clock: Clock

    def look(self, neighbours: Iterable[Neighbour]) -> list[OfHost]:
        return [found for prefix, of_it in neighbours for found in self._of(prefix, of_it)]

    def _of(self, prefix: str, of_it: Catalog | BackupError) -> Iterator[OfHost]:
        if isinstance(of_it, BackupError):
            yield OfHost(prefix, _line(f"it cannot be read: {of_it}"), unreadable=True)
            return
        carriers = [carrier for source in SOURCES for carrier in of_it.carriers(source.type)]
        if not carriers:
            yield OfHost(prefix, _line("nothing is stored there"))
        found = [watched for carrier in carriers for watched in self._stored(of_it, carrier)]
        fresh = {one.carrier.type for one in found if one.health.level is Level.OK}
        for watched in found:
            yield OfHost(prefix, _left(watched) if watched.carrier.type in fresh else watched)

    def _stored(self, catalog: Catalog, carrier: Carrier) -> Iterator[WatchedCarrier]:
        snapshots = catalog.snapshots(carrier)
        objects: Sequence[CarriedObject] = ()
        try:
            objects, _ = objects_of(carrier, snapshots, catalog)
        except UnreachableError:
            raise
        except BackupError as error:
            yield WatchedCarrier(carrier, (), Health(Level.WARNING, (str(error),)))
            return
        chosen = tuple(held for held in objects if selected(self.patterns, str(held.id)))
        if chosen:
            alarms = list(lateness(snapshots, self.patience, self.clock.now))
            kept = source_of(carrier.type).kept
            judged = health.judge(snapshots, (), None, self.patience, self.clock, kept, alarms)
            yield WatchedCarrier(carrier, chosen, judged)


def worst_first(found: Iterable[OfHost]) -> list[OfHost]:
    return sorted(
        found, key=lambda one: (-one.watched.health.level, one.host, one.watched.carrier)
    )


def _line(sentence: str) -> WatchedCarrier:
    return WatchedCarrier(Carrier(""), (), Health(Level.WARNING, (sentence,)))


def _left(watched: WatchedCarrier) -> WatchedCarrier:
    """Return a late object as one that is gone: others of its source still get snapshots.

    Its own host can tell whether it fails instead.
    """
    if not watched.carrier.is_object or watched.health.level is Level.OK:
        return watched
    return replace(watched, gone=True, health=replace(watched.health, level=Level.OK, troubles=()))
