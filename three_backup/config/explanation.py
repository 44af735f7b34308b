"""Explains which value of an option holds for an object, and which line gave it."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from three_backup.config.configuration import Configuration
from three_backup.config.options import OPTIONS
from three_backup.config.settings import LOCAL_DIR, RunSettings, Settings, is_storage
from three_backup.model.objects import ObjectId
from three_backup.model.schedule import Cron
from three_backup.model.storage import Storage

HIDDEN = "(hidden)"
_NONE = "-"
_UNITS = (("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Explained:
    """An option in words."""

    option: str
    value: str  # as it could be written in a configuration; a secret is hidden
    line: int | None = None  # where the option is given; None: it is the default
    pattern: str | None = None  # of the section that gives it; None: it is the default


def explain(configuration: Configuration, object_id: ObjectId) -> Iterator[Explained]:
    """Yield every option there is, in the order of three_backup.yaml(5)."""
    given = configuration.given(object_id)
    for name, option in OPTIONS.items():
        if name in given:
            entry = given[name]
            value = HIDDEN if option.secret else written(entry.value)
            yield Explained(name, value, entry.line, entry.pattern)
        else:
            yield Explained(name, written(default(name, configuration.defaults)))


def default(name: str, host: Storage) -> Any:
    """Return the default of an option. host: the folder and the prefix of this host."""
    if is_storage(name):
        return getattr(host, name if name == LOCAL_DIR else name.removeprefix("s3_"))
    defaults = {
        option.name: option.default for option in (*fields(Settings), *fields(RunSettings))
    }
    return defaults[name]


def written(value: Any) -> str:
    """Return a value as it is written in a configuration; `-` for none."""
    match value:
        case None:
            return _NONE
        case Cron():
            return value.text
        case bool():
            return str(value).lower()
        case timedelta():
            return _duration(int(value.total_seconds()))
        case tuple():
            return shlex.join(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _duration(seconds: int) -> str:
    unit, length = next(pair for pair in _UNITS if seconds % pair[1] == 0)
    return f"{seconds // length}{unit}"
