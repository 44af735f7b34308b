"""How old the copies in further stores are. Each store is listed once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.signatures import sentence_on as unsigned
from three_backup.config import Configuration
from three_backup.config.settings import Settings
from three_backup.errors import BackupError
from three_backup.model.dependencies import missing_links
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.watching.health import Level, Trouble


@dataclass(frozen=True, slots=True)
class Copied:
    """What a further store has of a carrier."""

    newest: Mapping[str, datetime | None] = field(default_factory=dict)  # by store; None: nothing
    troubles: Sequence[Trouble] = ()


NOTHING = Copied()


@dataclass(frozen=True, slots=True)
class Copies:
    """The further stores, as a look at how everything stands sees them."""

    configuration: Configuration
    patience: timedelta  # how long a store is tried
    say: Callable[[str], None]
    unreadable: dict[str, str] = field(default_factory=dict)  # sentences, by store
    _catalogs: dict[tuple[str, Storage], Catalog] = field(default_factory=dict)

    def of(self, carrier: Carrier, settings: Sequence[Settings], storage: Storage) -> Copied:
        """Return what the stores have that the carrier is copied into. settings: of its objects.

        A store that cannot be read is left out, and told of in `unreadable`.
        """
        wanted = [own.copy_to for own in settings if own.max_stage.reaches(Stage.SYNCED_S3)]
        found: dict[str, datetime | None] = {}
        troubles: list[Trouble] = []
        for store in dict.fromkeys(name for name in wanted if name):
            try:
                catalog = self._catalog(store, storage)
                found[store] = _newest(catalog, carrier)
                troubles += _foreign(catalog, carrier)
            except BackupError as error:
                self.unreadable.setdefault(store, f"store {store}: {error}")
        return Copied(found, troubles)

    def _catalog(self, store: str, storage: Storage) -> Catalog:
        if (store, storage) not in self._catalogs:
            place = self.configuration.copies(store, storage)
            hasty = replace(place, asked=True, timeout=min(place.timeout, self.patience))
            self._catalogs[store, storage] = Catalog(hasty, self.say)
        catalog = self._catalogs[store, storage]
        catalog.list_everything()
        return catalog


def _newest(catalog: Catalog, carrier: Carrier) -> datetime | None:
    """Return when the newest copy was taken that can be restored from the store alone."""
    there = catalog.filled(carrier)
    missing = missing_links(there, Kept.FOLDERS)
    good = (stored.id.time for stored in there if stored.id not in missing)
    return max(good, default=None)


def _foreign(catalog: Catalog, carrier: Carrier) -> Iterator[Trouble]:
    if foreign := catalog.foreign(carrier):
        store = catalog.storage.store
        yield Trouble(Level.CRITICAL, f"store {store}: {unsigned(foreign)}")
