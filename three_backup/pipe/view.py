"""The contract of what people see of records."""

from typing import Protocol

from three_backup.model.records import Record
from three_backup.screen.terminal import Screen


class View(Protocol):
    """Gathers records, of whatever number in little memory, and shows them at the end."""

    def add(self, record: Record) -> None: ...

    def text(self, seconds: float, screen: Screen) -> str:
        """Return what the records come to, as lines. seconds: how long the tool took."""
        ...
