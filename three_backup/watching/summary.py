"""The summary of a run, for people: records are added one by one, only sums are kept."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from textwrap import indent
from typing import Any, TypeVar

from three_backup.model.records import Record
from three_backup.screen.formats import counted, duration, table, wrapped
from three_backup.watching.sums import Sums

Column = TypeVar("Column", bound=str)

_WIDTH = 78
_MOST_REMARKS = 20
_INDENT = "  "
_COPIES = "tb-copy"
"""The stage after which nothing more becomes of a snapshot."""


class Outcome(StrEnum):
    """The outcome of an object; the values are column headings."""

    BACKED_UP = "backed up"
    UP_TO_DATE = "up to date"
    DISABLED = "disabled"
    UNSUPPORTED = "not supported"
    UNFINISHED = "unfinished"
    UNCOPIED = "not copied"
    FAILED = "failed"


@dataclass(slots=True)
class Summary:
    """The sums over the records of a run."""

    outcomes: dict[str, Counter[Outcome]] = field(default_factory=dict)  # of objects, by type
    sums: Sums = field(default_factory=Sums)
    # Sentences on what failed or was left undone, with the number of records each is on.
    remarks: dict[Outcome, Counter[str]] = field(default_factory=dict)
    errors: int = 0
    unmatched: int = 0  # selectors that match nothing; each is an error, too

    def add(self, record: Record) -> None:
        outcome = outcome_of(record)
        if "subtype" in record.fields:  # else it stands for a whole source or a malformed line
            self.outcomes.setdefault(record.fields["type"], Counter())[outcome] += 1
        self.errors += record.failed
        self.unmatched += record.failed and "select" in record.fields
        self._remark(record, outcome)
        self.sums.add(record)

    @property
    def objects(self) -> int:
        return sum(counts.total() for counts in self.outcomes.values())

    @property
    def failed(self) -> int:
        return sum(counts[Outcome.FAILED] for counts in self.outcomes.values())

    @property
    def uncopied(self) -> int:
        """The objects whose snapshots are complete, but not copied into the further store."""
        return sum(counts[Outcome.UNCOPIED] for counts in self.outcomes.values())

    @property
    def failures(self) -> list[str]:
        """Sentences on what failed, copies included."""
        both = (self.remarks.get(outcome, ()) for outcome in (Outcome.FAILED, Outcome.UNCOPIED))
        return [sentence for remarks in both for sentence in remarks]

    def _remark(self, record: Record, outcome: Outcome) -> None:
        if outcome in (Outcome.FAILED, Outcome.UNFINISHED, Outcome.UNCOPIED):
            remark(self.remarks.setdefault(outcome, Counter()), record)


def text(summary: Summary, seconds: float, deaths: Sequence[str]) -> str:
    """Return the summary in 78 columns.

    deaths: sentences on stages that did not end by themselves.
    """
    blocks = [
        headline(summary, deaths) + "\n",
        outcome_table(summary.outcomes, tuple(Outcome)),
        indent(table([*summary.sums.lines(), ("took", duration(seconds))]), _INDENT),
        *_remarks(summary.remarks, deaths),
    ]
    return "\n".join(block for block in blocks if block)


def facts(summary: Summary, seconds: float, deaths: Sequence[str]) -> dict[str, Any]:
    """Return the summary as plain JSON, for programs."""
    failures = [*deaths, *summary.failures]
    return {
        "headline": headline(summary, deaths),
        "objects": summary.objects,
        "failed": summary.failed,
        "seconds": round(seconds, 1),
        "outcomes": {
            source_type: {outcome.value: count for outcome, count in counts.items()}
            for source_type, counts in summary.outcomes.items()
        },
        "taken": dict(summary.sums.taken),
        "uploaded": dict(summary.sums.uploaded),
        "removed": dict(summary.sums.removed),
        "failures": failures,
    }


def outcome_table(outcomes: Mapping[str, Counter[Column]], order: Sequence[Column]) -> str:
    """Format a table with a line for each type, without columns that would be empty."""
    columns = [column for column in order if any(counts[column] for counts in outcomes.values())]
    if not columns:
        return ""
    rows = [
        [source_type, str(counts.total()), *(str(counts[column] or "-") for column in columns)]
        for source_type, counts in outcomes.items()
    ]
    right = frozenset(range(1, len(columns) + 2))
    return indent(table([["", "objects", *columns], *rows], right), _INDENT)


def paragraph(heading: str, remarks: Counter[str], others: Sequence[str] = ()) -> str:
    """Format sentences under a heading, others first; those on many objects give their number."""
    sentences = [*others, *map(_on_objects, remarks.items())]
    lines = [f"{heading}:", *(wrapped(sentence, _WIDTH) for sentence in sentences)]
    return "\n".join(lines) + "\n" if sentences else ""


def remark(remarks: Counter[str], record: Record) -> None:
    """Count the sentence on why the record failed or was left undone; keep at most 20."""
    sentence = sentence_of(record)
    if sentence in remarks or len(remarks) < _MOST_REMARKS:
        remarks[sentence] += 1
    else:
        remarks["and others, which standard error names"] += 1


def outcome_of(record: Record) -> Outcome:
    """Return the outcome of the object, by the record that the last stage printed."""
    if record.failed:
        complete = record.fields["error"].get("tool") == _COPIES and not record.todo
        return Outcome.UNCOPIED if complete else Outcome.FAILED
    if record.fields.get("disabled"):
        return Outcome.DISABLED
    if record.unsupported:
        return Outcome.UNSUPPORTED
    if record.todo:
        return Outcome.UNFINISHED
    uploaded = record.fields.get("uploaded") or {}
    done = record.fields.get("snapshot") or uploaded.get("snapshots")
    return Outcome.BACKED_UP if done else Outcome.UP_TO_DATE


def sentence_of(record: Record) -> str:
    """Return why the object failed or was left undone, and the remedy."""
    if not record.failed:
        return f"{record.carrier}: {record.fields.get('why') or 'nobody did it'}"
    error = record.fields["error"]
    message, hint = str(error.get("message", "")), error.get("hint")
    if not record.is_named_in(message):
        message = f"{record.carrier}: {message}"
    return f"{message}; {hint}" if hint else message


def headline(summary: Summary, deaths: Sequence[str]) -> str:
    """Return the run in a few words."""
    if not summary.unmatched:
        return _of_objects(summary, deaths)
    unmatched = f"{counted(summary.unmatched, 'selector')} matched nothing"
    others = summary.objects or deaths or summary.errors > summary.unmatched
    return f"{unmatched}; {_of_objects(summary, deaths)}" if others else unmatched


def _of_objects(summary: Summary, deaths: Sequence[str]) -> str:
    if summary.failed:
        return f"{summary.failed} of {counted(summary.objects, 'object')} failed"
    if summary.uncopied and summary.uncopied + summary.unmatched == summary.errors and not deaths:
        objects = counted(summary.objects, "object")
        return f"backups are complete, copies are not: {summary.uncopied} of {objects} not copied"
    if summary.errors > summary.unmatched or deaths:
        return "the run failed"
    if not summary.objects:
        return "there is nothing to back up"
    left = sum(counts[Outcome.UNFINISHED] for counts in summary.outcomes.values())
    if left:
        return f"{left} of {counted(summary.objects, 'object')} left unfinished"
    return f"all is well with {counted(summary.objects, 'object')}"


def _remarks(remarks: Mapping[Outcome, Counter[str]], deaths: Sequence[str]) -> Iterator[str]:
    for outcome in (Outcome.FAILED, Outcome.UNFINISHED, Outcome.UNCOPIED):
        others = deaths if outcome is Outcome.FAILED else ()
        yield paragraph(outcome, remarks.get(outcome, Counter()), others)


def _on_objects(remark: tuple[str, int]) -> str:
    sentence, count = remark
    return f"{sentence} ({count} objects)" if count > 1 else sentence
