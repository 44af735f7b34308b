"""The ids under which objects are restored: their own, or others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from three_backup.errors import UsageError
from three_backup.model.objects import ObjectId
from three_backup.sources import source_of

LEVELS = ("level1", "level2", "level3")


@dataclass(frozen=True, slots=True)
class Renaming:
    """New names for the levels of ids, by level."""

    names: Mapping[str, str]  # each replaces a level
    suffixes: Mapping[str, str]  # each is appended afterwards
    into: str | None = None  # the type of the target, None: the object's own

    @classmethod
    def of(
        cls,
        names: Mapping[str, str | None],
        suffixes: Mapping[str, str | None],
        into: str | None = None,
    ) -> Self:
        """Take what is given of the options --level1 to --level3-suffix, by level, and --into."""
        return cls(_given(names), _given(suffixes), into)

    def target(self, object_id: ObjectId) -> ObjectId:
        """Return the id of the restored object. Raises UsageError if it cannot have the type."""
        own = {level: str(getattr(object_id, level)) for level in LEVELS}
        named = {**own, **self.names}
        return replace(
            object_id,
            type=self._type(object_id),
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

    def _type(self, object_id: ObjectId) -> str:
        if self.into in (None, object_id.type):
            return object_id.type
        akin = source_of(object_id.type).akin
        if self.into not in akin:
            raise UsageError(
                "restore.into",
                f"{object_id} cannot be restored into {self.into!r}",
                f"--into takes {' or '.join(akin)} for it" if akin else "leave out --into",
            )
        return self.into


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {level: name for level, name in options.items() if name is not None}
