"""The lines to paste for opened objects, and the place that each of them reaches."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from three_backup.model.local_time import local
from three_backup.model.records import Record
from three_backup.model.snapshots import SnapshotId
from three_backup.screen.formats import table, wrapped
from three_backup.screen.terminal import Colour, Screen, painted

_WIDE = 100


@dataclass(slots=True)
class Ways:
    """Gathers the records of opened objects by the command that reaches them."""

    zone: tzinfo  # of the host
    until: datetime | None  # None: until somebody ends it
    _by_command: dict[str, list[Record]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        if "opened" in record.fields:  # what failed was said on standard error
            self._by_command.setdefault(record.fields["opened"]["command"], []).append(record)

    def text(self, seconds: float, screen: Screen) -> str:
        return "\n".join(self._blocks(screen))

    def _blocks(self, screen: Screen) -> Iterator[str]:
        for command, records in self._by_command.items():
            shown = painted(command, Colour.GREEN, coloured=screen.coloured)
            rows = [(f"  {record.id}", f"as of {self._time(record)}") for record in records]
            notes = dict.fromkeys(
                note for one in records for note in one.fields["opened"]["notes"]
            )
            lines = "".join(f"{wrapped(note, screen.width or _WIDE)}\n" for note in notes)
            yield f"{shown}\n{table(rows, width=screen.width)}{lines}"
        if self._by_command:
            until = f"{local(self.until, self.zone)}, or " if self.until else ""
            yield f"open until {until}Ctrl-C\n"

    def _time(self, record: Record) -> str:
        """Return the moment that is open: that of the last transaction, or of the snapshot."""
        opened = record.fields["opened"]
        if committed := opened.get("moment", {}).get("committed"):
            return local(datetime.fromisoformat(committed), self.zone)
        snapshot = SnapshotId.parse(opened["snapshot"])
        return local(snapshot.time, self.zone) if snapshot else opened["snapshot"]
