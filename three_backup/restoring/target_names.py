"""The names under which objects are restored: their own, or others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from three_backup.errors import UsageError
from three_backup.model.objects import ObjectId

LEVELS = ("level1", "level2", "level3")


@dataclass(frozen=True, slots=True)
class Renaming:
    """New names for the levels of ids, by level."""

    names: Mapping[str, str]  # each replaces a level
    suffixes: Mapping[str, str]  # each is appended afterwards

    @classmethod
    def of(cls, names: Mapping[str, str | None], suffixes: Mapping[str, str | None]) -> Self:
        """Take what is given of the options --level1 to --level3-suffix, by level."""
        return cls(_given(names), _given(suffixes))

    def target(self, object_id: ObjectId) -> ObjectId:
        own = {level: str(getattr(object_id, level)) for level in LEVELS}
        named = {**own, **self.names}
        return replace(
            object_id,
            **{level: name + self.suffixes.get(level, "") for level, name in named.items()},
        )

    def targets(self, objects: Iterable[ObjectId]) -> dict[ObjectId, ObjectId]:
        """Return the target of each object; raise UsageError where two would get the same one."""
        targets: dict[ObjectId, ObjectId] = {}
        owners: dict[ObjectId, ObjectId] = {}
        for object_id in objects:
            target = self.target(object_id)
            other = owners.setdefault(target, object_id)
            if other != object_id:
                raise UsageError(
                    "restore.clash",
                    f"{other} and {object_id} would both become {target}",
                    "restore them one by one, or use --level3-suffix",
                )
            targets[object_id] = target
        return targets


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {level: name for level, name in options.items() if name is not None}
