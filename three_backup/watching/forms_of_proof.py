"""The forms in which people see what was proved, and in what it differs."""

from three_backup.model.records import Record, number
from three_backup.screen.formats import counted, size
from three_backup.watching.forms import took
from three_backup.watching.sheet import Amount, Form, Row, Sheet

_PROVED, _READ, _NOT_THERE = "proved", "read", "not there then"


def _verified_row(record: Record) -> Row:
    drilled = record.part("drilled")
    rows = str(number(drilled, "rows")) if "rows" in drilled else ""
    read = size(number(drilled, "bytes_read")) if "bytes_read" in drilled else ""
    if record.failed:
        return record.called, "failed", "", "", ""
    return record.called, _proof(record), rows, read, took(drilled)


def _proof(record: Record) -> str:
    drilled = record.part("drilled")
    if not drilled:
        return _NOT_THERE
    return _PROVED if drilled.get("how") == "restored" else _READ


def _mended(record: Record) -> int:
    """Return how many bytes stood in for what was missing or damaged."""
    found = record.part("drilled").get("mended")
    return sum(number(found, store) for store in found) if isinstance(found, dict) else 0


def _verified_headline(sheet: Sheet) -> str:
    counts = {word: sheet.count(word) for word in (_PROVED, _READ, _NOT_THERE)}
    said = [f"{counted(count, 'object')} {word}" for word, count in counts.items() if count]
    return ", ".join(said) or "nothing is proved"


VERIFIED = Form(
    headline=_verified_headline,
    heading=("OBJECT", "OUTCOME", "ROWS", "READ", "AFTER"),
    row=_verified_row,
    column=_proof,
    right=frozenset({2, 3, 4}),
    by_carrier=False,
    # What was read of a carrier is on the records of all its objects, and is not summed up.
    amounts={
        "rows": Amount(lambda record: number(record.part("drilled"), "rows"), str),
        "mended": Amount(_mended, size),
    },
)


def _compared_row(record: Record) -> Row:
    found = record.part("difference")
    if record.failed:
        return record.called, "failed", "", "", ""
    numbers = (number(found, name) for name in ("added", "removed", "changed"))
    counts = (f"{count}" if count else "" for count in numbers)
    return record.called, *counts, str(found.get("definition", ""))


def _how_alike(record: Record) -> str:
    return "equal" if record.part("difference").get("equal") else "different"


COMPARED = Form(
    headline=lambda sheet: (
        f"{sheet.count('different')} of {counted(sheet.objects, 'object')} differ"
        if sheet.count("different")
        else "nothing differs"
    ),
    heading=("OBJECT", "ADDED", "REMOVED", "CHANGED", "DEFINITION"),
    row=_compared_row,
    column=_how_alike,
    right=frozenset({1, 2, 3}),
    by_carrier=False,
)
