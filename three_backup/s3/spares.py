"""The stores that stand in for another one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from three_backup.s3.mended import Mended

_Store = TypeVar("_Store")


@dataclass(frozen=True, slots=True)
class Spares(Generic[_Store]):
    """Further stores that hold copies of what lies in one, and the account of what they gave."""

    stores: Sequence[_Store] = ()
    mended: Mended = field(default_factory=Mended)
