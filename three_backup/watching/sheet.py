"""What a person sees of records in place of them: a table of some, sums over all."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent

from three_backup.model.records import Record
from three_backup.screen.formats import counted, duration, table
from three_backup.screen.terminal import Colour, Screen, painted
from three_backup.watching.summary import outcome_table, paragraph, remark
from three_backup.watching.sums import Sums

_MOST_ROWS = 200
_MOST_REASONS = 20
_INDENT = "  "
FAILED = "failed"

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of each record that is summed over all."""

    of: Callable[[Record], int]
    spelt: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Form:
    """How the records of a tool look to a person."""

    headline: Callable[["Sheet"], str]
    heading: Row
    row: Callable[[Record], Row | None]  # None: the record is only counted
    column: Callable[[Record], str]  # the heading under which its object is counted
    right: frozenset[int] = frozenset()  # the numbers of right-aligned columns
    by_carrier: bool = True  # one row for all records of a carrier
    wraps: bool = False  # the last cells of rows are sentences
    amounts: Mapping[str, Amount] = field(default_factory=dict)  # by what they are called
    reason: Callable[[Record], str | None] = lambda _: None  # why nothing is done for it


@dataclass(slots=True)
class Sheet:
    """Gathers records in a form. However many come, memory is flat."""

    form: Form
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)  # of objects, by type
    sums: Sums = field(default_factory=Sums)
    amounts: Counter[str] = field(default_factory=Counter)
    rows: int = 0  # with those for which the table has no room
    _records: int = 0
    _shown: list[Row] = field(default_factory=list)
    _red: set[int] = field(default_factory=set)  # the numbers of shown rows
    _carriers: set[str] = field(default_factory=set)  # those of many objects that have a row
    _reasons: Counter[str] = field(default_factory=Counter)
    _failures: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        self._records += 1
        if "subtype" in record.fields:  # else it stands for a source or for a malformed line
            counts = self.outcomes.setdefault(record.carrier.type, Counter())
            counts[FAILED if record.failed else self.form.column(record)] += 1
        if record.failed:
            remark(self._failures, record)
        else:
            self._add_up(record)
        self._add_row(record)

    def text(self, seconds: float, screen: Screen) -> str:
        """Return the table and the sums; failures once more, which may have scrolled away."""
        blocks = [
            self._table(screen),
            self._headline(screen) + "\n",
            self._outcomes(),
            indent(table([*self._lines(), ("took", duration(seconds))]), _INDENT),
            paragraph("left alone", Counter(), self._left_alone()),
            paragraph(FAILED, self._failures) if self._records > 1 else "",
        ]
        return "\n".join(block for block in blocks if block)

    @property
    def objects(self) -> int:
        return sum(counts.total() for counts in self.outcomes.values())

    @property
    def failed(self) -> int:
        """How many objects failed."""
        return self.count(FAILED)

    def count(self, column: str) -> int:
        """Return how many objects are counted under a heading."""
        return sum(counts[column] for counts in self.outcomes.values())

    def _add_up(self, record: Record) -> None:
        self.sums.add(record)
        for name, amount in self.form.amounts.items():
            self.amounts[name] += amount.of(record)
        reason = self.form.reason(record)
        if reason is not None:
            room = reason in self._reasons or len(self._reasons) < _MOST_REASONS
            self._reasons[reason if room else "for other reasons"] += 1

    def _add_row(self, record: Record) -> None:
        row = self.form.row(record)
        if row is None:
            return
        if self.form.by_carrier and record.carrier != record.id:
            if record.carrier in self._carriers:
                return
            self._carriers.add(record.carrier)
        self.rows += 1
        if len(self._shown) < _MOST_ROWS:
            if record.failed:
                self._red.add(len(self._shown))
            self._shown.append(row)

    def _table(self, screen: Screen) -> str:
        def paint(row: int, line: str) -> str:
            colour = Colour.RED if row - 1 in self._red else None
            return painted(line, colour, coloured=screen.coloured)

        if not self._shown:
            return ""
        form, more = self.form, self.rows - len(self._shown)
        rows = [form.heading, *self._shown]
        shown = table(rows, form.right, screen.width, paint, wraps=form.wraps)
        return shown + (f"and {more} more, which --json shows\n" if more else "")

    def _outcomes(self) -> str:
        """Return how many objects of each type had each outcome, unless it is the same for all."""
        came = dict.fromkeys(column for counts in self.outcomes.values() for column in counts)
        columns = sorted(came, key=lambda column: column == FAILED)
        differ = len(columns) > 1 or len(self.outcomes) > 1
        return outcome_table(self.outcomes, columns) if differ else ""

    def _headline(self, screen: Screen) -> str:
        said, failed = self.form.headline(self), self.failed
        if failed:
            said += f"; {failed} of {counted(self.objects, 'object')} failed"
        elif self._failures:
            said += f"; {counted(self._failures.total(), 'failure')}"
        colour = Colour.RED if self._failures else Colour.GREEN
        return painted(said, colour, coloured=screen.coloured)

    def _left_alone(self) -> list[str]:
        return [f"{counted(count, 'object')}: {reason}" for reason, count in self._reasons.items()]

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield from self.sums.lines()
        for name, amount in self.form.amounts.items():
            if self.amounts[name]:
                yield name, amount.spelt(self.amounts[name])
