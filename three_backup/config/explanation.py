"""Which value of an option holds for an object, and which line gave it."""

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
    """An option in words. value: as it could be written, a secret is not; line, pattern: of the
    section that gives it, None for the default."""

    option: str
    value: str
    line: int | None = None
    pattern: str | None = None


def explain(configuration: Configuration, object_id: ObjectId) -> Iterator[Explained]:
    """Every option there is, in the order of three_backup.yaml(5)."""
    given = configuration.given(object_id)
    for name, option in OPTIONS.items():
        if name in given:
            one = given[name]
            value = HIDDEN if option.secret else written(one.value)
            yield Explained(name, value, one.line, one.pattern)
        else:
            yield Explained(name, written(default(name, configuration.defaults)))


def default(name: str, host: Storage) -> Any:
    """What holds where nothing is said; host: the folder and the prefix of this host."""
    if is_storage(name):
        return getattr(host, name if name == LOCAL_DIR else name.removeprefix("s3_"))
    defaults = {one.name: one.default for one in (*fields(Settings), *fields(RunSettings))}
    return defaults[name]


def written(value: Any) -> str:
    """A value as it stands in a configuration; `-` for none."""
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
    unit, length = next(one for one in _UNITS if seconds % one[1] == 0)
    return f"{seconds // length}{unit}"
