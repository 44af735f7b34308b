"""The merged configuration: the settings of an object, of a source and of the run."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from three_backup.config import stores
from three_backup.config.options import OPTIONS, Scope
from three_backup.config.rules import EVERYTHING, Given, Rule, of_source
from three_backup.config.settings import RunSettings, Settings, is_storage, settings_of
from three_backup.errors import ConfigurationError
from three_backup.model.encryption import Demand
from three_backup.model.objects import Carrier, ObjectId, can_match_below
from three_backup.model.retention import Limits
from three_backup.model.storage import Storage

_Matching = tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The rules of the configuration file, and the settings that they give."""

    path: Path | None  # None: there is no file, and the defaults hold
    rules: tuple[Rule, ...]  # as written; the lower one wins
    defaults: Storage  # this host's folder and prefix, where no section names them
    warnings: tuple[str, ...] = ()  # for people
    stores: tuple[Rule, ...] = ()  # further stores; the pattern of each is its name
    _merged: dict[tuple[str, ...], Settings] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _found: dict[ObjectId, Settings] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def settings(self, object_id: ObjectId) -> Settings:
        """Return the settings of an object.

        Cached: each object is asked for several times, and there may be ten thousand.
        """
        if object_id not in self._found:
            self._found[object_id] = self._settings(self._matching(object_id))
        return self._found[object_id]

    def given(self, object_id: ObjectId) -> dict[str, Given]:
        """Return what sections say of the object and of the run, by option, each with its line."""
        return _merge(self._matching(object_id))

    def settings_below(self, prefix: str) -> list[Settings]:
        """Return the settings that may hold for objects whose ids begin with `prefix/`.

        One for each pattern that can match there; the rest of the ids need not be known.
        """
        patterns = (rule.pattern for rule in self.rules if can_match_below(rule.pattern, prefix))
        whole = self._covering(f"{prefix}/*")
        return [
            self._settings(
                tuple(rule for rule in self.rules if rule in (*whole, *self._covering(pattern)))
            )
            for pattern in dict.fromkeys(patterns)
        ]

    def source_settings(self, source_type: str) -> Settings:
        """Return the settings of a source as a whole: of its own sections and of "*"."""
        patterns = (EVERYTHING, *of_source(source_type))
        return self._settings(tuple(rule for rule in self.rules if rule.pattern in patterns))

    @property
    def run(self) -> RunSettings:
        given = _merge(tuple(rule for rule in self.rules if rule.pattern == EVERYTHING))
        wanted = {
            name: option.value
            for name, option in given.items()
            if OPTIONS[name].scope is Scope.RUN
        }
        local_dir = given["local_dir"].value if "local_dir" in given else self.defaults.local_dir
        return RunSettings(local_dir, **wanted)

    @property
    def copied_to(self) -> list[str]:
        """The further stores into which runs copy something; none twice."""
        named = (rule.value("copy_to") for rule in self.rules)
        return list(dict.fromkeys(name for name in named if name))

    def copies(self, store: str, of: Storage) -> Storage:
        """Return where a further store keeps copies of a storage. Raises ConfigurationError."""
        return stores.storage_of(stores.named(self.stores, store), of)

    def limits_of_copies(self, store: str) -> Limits:
        """Return how many copies stay in a further store. Raises ConfigurationError."""
        return stores.limits_of(stores.named(self.stores, store))

    def storages(self) -> list[Storage]:
        """Return every storage that a section names, with those that cover it; none twice.

        Of those that differ only in what they demand, the strictest.
        """
        strictest: dict[Storage, Storage] = {}
        for storage in (settings.storage for settings in self.of_sections().values()):
            place = replace(storage, encryption=None)
            if storage.encryption is Demand.REQUIRED or place not in strictest:
                strictest[place] = storage
        return list(strictest.values())

    def places_of_copies(self) -> list[Storage]:
        """Return where runs keep copies in further stores. Raises ConfigurationError."""
        found = (
            self.copies(settings.copy_to, settings.storage)
            for settings in self.of_sections().values()
            if settings.copy_to and settings.storage.bucket
        )
        return list(dict.fromkeys(found))

    def gives_prefix(self, store: str) -> bool:
        """Return whether a further store has a prefix of its own, for all that is copied there."""
        return stores.named(self.stores, store).value("s3_prefix") is not None

    def of_sections(self) -> dict[str, Settings]:
        """Return the settings of every section with those that cover it, by its pattern."""
        patterns = dict.fromkeys((EVERYTHING, *(rule.pattern for rule in self.rules)))
        return {pattern: self._settings(self._covering(pattern)) for pattern in patterns}

    def unmatched(self, ids: Iterable[ObjectId], types: Iterable[str]) -> list[str]:
        """Return the patterns that could match objects of the types but match none of the ids."""
        types = tuple(types)
        waiting = [
            rule
            for rule in self.rules
            if rule.pattern != EVERYTHING
            and any(can_match_below(rule.pattern, source_type) for source_type in types)
        ]
        for object_id in ids:
            waiting = [rule for rule in waiting if not rule.matches(str(object_id))]
        return [rule.pattern for rule in waiting]

    def require_agreement(self, carrier: Carrier, object_ids: Iterable[ObjectId]) -> None:
        """Raise ConfigurationError where objects of one carrier are to lie in several places."""
        first: ObjectId | None = None
        for object_id in object_ids:
            first = first or object_id
            if self.settings(object_id).storage != self.settings(first).storage:
                raise self._disagreement(carrier, first, object_id)

    def _matching(self, object_id: ObjectId) -> _Matching:
        text = str(object_id)
        return tuple(rule for rule in self.rules if rule.matches(text))

    def _covering(self, pattern: str) -> _Matching:
        return tuple(
            rule for rule in self.rules if rule.pattern == pattern or rule.covers(pattern)
        )

    def _settings(self, matching: _Matching) -> Settings:
        # Cached: ten thousand objects match only a handful of different sets of sections.
        key = tuple(rule.pattern for rule in matching)
        if key not in self._merged:
            given = _merge(matching)
            own = {
                name: option.value
                for name, option in given.items()
                if OPTIONS[name].scope is not Scope.RUN
            }
            self._merged[key] = settings_of(own, self.defaults)
        return self._merged[key]

    def _disagreement(
        self, carrier: Carrier, one: ObjectId, other: ObjectId
    ) -> ConfigurationError:
        given = self.given(one), self.given(other)
        name = next(
            name
            for name in OPTIONS
            if is_storage(name) and _value(given[0], name) != _value(given[1], name)
        )
        places = " and ".join(self._place(options, name) for options in given)
        return ConfigurationError(
            "config.disagreement",
            f"{carrier}: its objects lie in one snapshot, but {name} differs: {places}",
            f'give {name} under "{EVERYTHING}" or under the source only',
        )

    def _place(self, given: dict[str, Given], name: str) -> str:
        if name not in given:
            return "the default"
        option = given[name]
        return f"{self.path}:{option.line} ({option.pattern!r})"


def _merge(matching: _Matching) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for rule in matching:
        merged.update(rule.options)
    return merged


def _value(given: dict[str, Given], name: str) -> object:
    return given[name].value if name in given else None
