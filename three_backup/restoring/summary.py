"""The summary at the end of a restore: what it brought back, or would bring back."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum

from three_backup.model.local_time import spoken
from three_backup.model.records import Record
from three_backup.restoring.foresight import Foresight
from three_backup.s3.mended import called
from three_backup.screen.formats import counted, duration, size, table
from three_backup.screen.terminal import Screen
from three_backup.watching.summary import outcome_table, paragraph, remark

_MOST_ROWS = 200


class RestoreOutcome(StrEnum):
    """The outcome of an object; the values are column headings."""

    RESTORED = "restored"
    RESTORABLE = "can be restored"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(slots=True)
class RestoreSummary:
    """The sums over the records of a restore."""

    dry_run: bool  # nothing was restored, only looked at
    zone: tzinfo  # of the times that it tells
    foresight: Foresight  # which has seen the records
    outcomes: dict[str, Counter[RestoreOutcome]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    rows: int | None = None
    bytes_read: int = 0
    mended: Counter[str] = field(default_factory=Counter)  # bytes, by the store they came from
    unchecked: int = 0  # objects whose check was left out
    moments: set[str] = field(default_factory=set)  # the last transactions that came back
    planned: list[Sequence[str]] = field(default_factory=list)  # dry run: a table row each

    def add(self, record: Record) -> None:
        if record.failed:
            remark(self.failures, record)
        source_type = record.fields.get("type")
        if source_type is not None:
            self.outcomes.setdefault(source_type, Counter())[self._outcome(record)] += 1
        done = record.fields.get("restored") or record.fields.get("would_restore") or {}
        if "rows" in done:
            self.rows = (self.rows or 0) + done["rows"]
        self.bytes_read += done.get("bytes_read", 0)
        self.mended.update(done.get("mended", {}))
        self.unchecked += done.get("unchecked", False)
        if committed := done.get("moment", {}).get("committed"):
            self.moments.add(committed)
        if self.dry_run and len(self.planned) < _MOST_ROWS:
            self.planned.append(_row(record))

    def text(self, seconds: float, screen: Screen) -> str:
        """Return the summary in 78 columns; lists failures, which may have scrolled away."""
        plan = [["OBJECT", "WOULD BECOME", "READ"], *self.planned]
        blocks = [
            table(plan, width=screen.width) if self.planned else "",
            self._headline + "\n",
            outcome_table(self.outcomes, tuple(RestoreOutcome)),
            table([[f"  {what}", told] for what, told in self._sums(seconds)]),
            paragraph("failed", self.failures) if self._objects > 1 else "",
        ]
        return "\n".join(block for block in blocks if block)

    @property
    def _objects(self) -> int:
        return sum(counts.total() for counts in self.outcomes.values())

    @property
    def _headline(self) -> str:
        failed = self.failures.total()
        if failed:
            return f"{failed} of {counted(self._objects, 'object')} failed"
        if self.dry_run:
            return f"nothing was touched; {counted(self._objects, 'object')} can be restored"
        return f"{counted(self._objects, 'object')} restored"

    def _outcome(self, record: Record) -> RestoreOutcome:
        if record.failed:
            return RestoreOutcome.REFUSED if self.dry_run else RestoreOutcome.FAILED
        return RestoreOutcome.RESTORABLE if self.dry_run else RestoreOutcome.RESTORED

    def _sums(self, seconds: float) -> Iterator[tuple[str, str]]:
        if self.rows is not None:
            yield "rows", str(self.rows)
        if self.unchecked:
            yield "not checked", counted(self.unchecked, "object")
        yield "to read" if self.dry_run else "read", size(self.bytes_read)
        for store, stood_in in self.mended.items():
            yield "mended", f"{size(stood_in)} from {called(store)}"
        if self.dry_run and self.planned:
            yield "will take", self.foresight.words(self.zone)
        if self.moments:
            more = f" (of {len(self.moments)} moments)" if len(self.moments) > 1 else ""
            last = datetime.fromisoformat(max(self.moments))
            yield "last transaction", spoken(last.astimezone(self.zone)) + more
        yield "took", duration(seconds)


def _row(record: Record) -> Sequence[str]:
    if record.failed:
        return record.id, "refused", ""
    plan = record.fields["would_restore"]
    return record.id, plan["target"], size(plan["bytes_read"])
