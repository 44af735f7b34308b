"""Further stores: where copies of snapshots lie, and how many of them stay there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from three_backup.config.rules import Rule, did_you_mean, keyless, options_of, repeated
from three_backup.config.sections import Mistake, Section
from three_backup.config.settings import LOCAL_DIR, Settings, is_storage
from three_backup.errors import ConfigurationError
from three_backup.model.retention import Limits
from three_backup.model.storage import Storage

RETENTION = (
    "max_base_snapshots_s3",
    "max_incremental_snapshots_s3",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
)
"""The options of a store that say how many copies stay there."""

_COPY_TO = "copy_to"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def understand_stores(
    sections: Sequence[Section], folder: Path
) -> tuple[list[Rule], list[Mistake]]:
    """Convert the sections of further stores, and return the mistakes in them."""
    stores, mistakes = [], list(repeated(sections))
    for section in sections:
        options, wrong = options_of(section, folder, _check_place)
        stores.append(Rule(section.pattern, section.line, options))
        mistakes += [*wrong, *_incomplete(section)]
    return stores, mistakes or list(keyless(stores))


def unknown_stores(rules: Sequence[Rule], stores: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield each copy_to that names no store."""
    names = [store.pattern for store in stores]
    for rule in rules:
        name = rule.value(_COPY_TO)
        if name is not None and name not in names:
            yield Mistake(rule.options[_COPY_TO].line, f"copy_to: {_no_such(name, names)}")


def named(stores: Sequence[Rule], name: str) -> Rule:
    """Return the store of this name. Raises ConfigurationError if there is none."""
    found = next((store for store in stores if store.pattern == name), None)
    if found is None:
        sentence = _no_such(name, [store.pattern for store in stores])
        raise ConfigurationError("config.no_store", sentence)
    return found


def storage_of(store: Rule, first: Storage) -> Storage:
    """Return where the store keeps copies of what lies in the first one.

    It takes nothing from the first one but the prefix: else the keys of one would be shown to the
    other. Raises ConfigurationError if both are one place.
    """
    given = _values(store, is_storage)
    options = {name.removeprefix("s3_"): value for name, value in given.items()}
    found = Storage(
        **{"local_dir": first.local_dir, "prefix": first.prefix, "store": store.pattern, **options}
    )
    if found.place == first.place:
        raise ConfigurationError(
            "config.same_store",
            f"store {store.pattern}: it is the bucket and the prefix of the snapshots themselves",
            "give it a bucket of its own, best at another provider and under other keys",
        )
    return found


def limits_of(store: Rule) -> Limits:
    """Return how many copies stay in the store; what it does not say is as for the first one."""
    return Settings(Storage(Path()), **_values(store, RETENTION.__contains__)).limits


def _values(store: Rule, wanted: Any) -> Mapping[str, Any]:
    return {name: given.value for name, given in store.options.items() if wanted(name)}


def _check_place(name: str, store: str) -> None:
    if name == LOCAL_DIR or not (is_storage(name) or name in RETENTION):
        raise ValueError(
            "a store has only s3_*, manifest_key, encrypt*, lock_*, max_*_s3 and keep_*; write it "
            "under a pattern"
        )


def _incomplete(section: Section) -> Iterator[Mistake]:
    if not _NAME.fullmatch(section.pattern):
        yield Mistake(
            section.line, f"{section.pattern!r} is not the name of a store; write a-z 0-9 _-"
        )
    if not any(entry.word == "s3_bucket" for entry in section.entries):
        yield Mistake(section.line, f"store {section.pattern}: it has no s3_bucket; name one")


def _no_such(name: str, names: Sequence[str]) -> str:
    there = f"there are {', '.join(names)}" if names else "name it under stores:"
    return f"there is no store {name!r}{did_you_mean(name, names) or f'; {there}'}"
