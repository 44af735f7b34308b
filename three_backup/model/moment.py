"""The moment that a restore brings back, other than that of a snapshot."""

from dataclasses import dataclass
from datetime import datetime

from three_backup.model.local_time import spoken


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment, by just one of the words that a server's log knows."""

    # In the time zone in which it is spoken of.
    time: datetime | None = None  # all that was committed until then, then included
    lsn: str | None = None  # all that was logged before this position
    xid: int | None = None  # until this transaction ended, included
    before_drop: bool = False  # until just before the object was dropped, for the last time

    def __str__(self) -> str:
        if self.time is not None:
            return spoken(self.time)
        if self.before_drop:
            return "the drop"
        return f"position {self.lsn}" if self.lsn is not None else f"transaction {self.xid}"
