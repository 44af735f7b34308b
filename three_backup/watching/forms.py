"""The forms in which people see the records of the tools that back up."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from three_backup.model.records import Record, number
from three_backup.model.stages import Stage
from three_backup.screen.formats import counted, duration, size
from three_backup.watching.sheet import Amount, Form, Row, Sheet
from three_backup.watching.sums import how_many

_LEFT_ALONE = "left alone"
_STEPS = {
    Stage.SYNCED_S3: "upload",
    Stage.ROTATED_LOCALLY: "rotation",
    Stage.ROTATED_S3: "rotation",
}
_TOO_LONG = 1e9
_WHY_NEXT = {
    "upload": "S3 lacks a snapshot of it",
    "rotation": "retention has something to do",
}


def kind(record: Record) -> str:
    """Return what an object is, as a person should know it."""
    fields = record.fields
    if record.failed:
        return "failed"
    named = str(fields.get("kind", fields.get("subtype", "")))
    if "data" in fields:  # definitions only, say: nobody should find that out too late
        named = f"{named}, {fields['data']}"
    return f"{named}, not supported yet" if record.unsupported else named


def size_of(record: Record) -> str:
    """Format the size of an object; empty where it failed or has none that can be."""
    given, known = record.fields.get("size"), number(record.fields, "size")
    return "" if record.failed or given != known else size(known)


def _found_row(record: Record) -> Row:
    return record.called, kind(record), size_of(record)


FOUND = Form(
    headline=lambda sheet: f"{counted(sheet.objects, 'object')} found",
    heading=("OBJECT", "KIND", "SIZE"),
    row=_found_row,
    column=lambda record: "not supported" if record.unsupported else str(record.fields["subtype"]),
    right=frozenset({2}),
    by_carrier=False,
    amounts={"size": Amount(lambda record: number(record.fields, "size"), size)},
)


def _step(record: Record) -> str | None:
    """Return what is to be done first for the object; None where nothing is."""
    if not record.todo:
        return None
    return str(record.fields.get("take") or _STEPS.get(record.todo[0], record.todo[0]))


def _planned_row(record: Record) -> Row | None:
    step = None if record.failed else _step(record)
    if step is None:
        return None
    why = str(record.fields.get("why", ""))
    return record.carrier, step, _WHY_NEXT.get(step, why)


def _planned_headline(sheet: Sheet) -> str:
    if not sheet.rows:
        return "nothing is to be done"
    idle, objects = sheet.count(_LEFT_ALONE) + sheet.failed, counted(sheet.objects, "object")
    return f"something is to be done for {sheet.objects - idle} of {objects}"


def _why_idle(record: Record) -> str | None:
    return None if record.todo else _why(record)


def _why(record: Record) -> str | None:
    why = record.unsupported or record.fields.get("why")
    return str(why) if why else None


PLANNED = Form(
    headline=_planned_headline,
    heading=("OBJECT", "NEXT", "WHY"),
    row=_planned_row,
    column=lambda record: _step(record) or _LEFT_ALONE,
    wraps=True,
    reason=_why_idle,
)


def _taken_row(record: Record) -> Row | None:
    taken = record.part("snapshot")
    if not taken or record.failed:
        return None
    sizes = [size(number(taken, name)) for name in ("source_size", "stored_size")]
    return record.carrier, str(taken.get("kind")), *sizes, took(taken)


def took(fields: Mapping[str, Any]) -> str:
    """Format the seconds that something took; empty where they are not known."""
    seconds = fields.get("seconds")
    if not isinstance(seconds, int | float) or not 0 <= seconds < _TOO_LONG:
        return ""
    return duration(seconds)


def _done(count: int, done: str) -> str:
    return f"{counted(count, 'snapshot')} {done}" if count else f"nothing {done}"


TAKEN = Form(
    headline=lambda sheet: _done(sheet.rows, "taken"),
    heading=("OBJECT", "TAKEN", "SOURCE", "STORED", "TOOK"),
    row=_taken_row,
    column=lambda record: "taken" if record.part("snapshot") else _LEFT_ALONE,
    right=frozenset({2, 3, 4}),
    reason=lambda record: None if record.part("snapshot") else _why(record),
)


def _uploaded_row(record: Record) -> Row | None:
    sent = record.part("uploaded")
    count = how_many(sent, "snapshots")
    if not count or record.failed:
        return None
    sizes = [size(number(sent, name)) for name in ("bytes", "resumed")]
    return record.carrier, str(count), *sizes, took(sent)


UPLOADED = Form(
    headline=lambda sheet: _done(sheet.sums.uploaded["snapshots"], "uploaded"),
    heading=("OBJECT", "UPLOADED", "SENT", "EARLIER", "TOOK"),
    row=_uploaded_row,
    column=lambda record: (
        "uploaded" if how_many(record.part("uploaded"), "snapshots") else _LEFT_ALONE
    ),
    right=frozenset({1, 2, 3, 4}),
)


def _copied_row(record: Record) -> Row | None:
    sent = record.part("copied")
    count = how_many(sent, "snapshots")
    log = number(sent["wal"], "bytes") if isinstance(sent.get("wal"), dict) else 0
    if record.failed or not (count or log):
        return None
    sizes = [size(number(sent, name)) for name in ("bytes", "resumed")]
    where = str(sent.get("store", ""))
    return record.carrier, where, str(count), *sizes, size(log) if log else "-", took(sent)


COPIED = Form(
    headline=lambda sheet: _done(sheet.sums.copied["snapshots"], "copied"),
    heading=("OBJECT", "INTO", "COPIED", "SENT", "EARLIER", "LOG", "TOOK"),
    row=_copied_row,
    column=lambda record: (
        "copied" if how_many(record.part("copied"), "snapshots") else _LEFT_ALONE
    ),
    right=frozenset({2, 3, 4, 5, 6}),
)


def _rotated_row(record: Record) -> Row | None:
    removed = record.part("removed")
    places = [how_many(removed, place) for place in ("local", "s3")]
    log = number(removed["wal"], "bytes") if isinstance(removed.get("wal"), dict) else 0
    locked = _locked(removed)
    if record.failed or not (any(places) or log or locked):
        return None
    counts = (str(count or "-") for count in places)
    return record.carrier, *counts, size(log) if log else "-", locked or "-"


def _locked(removed: Mapping[str, Any]) -> str:
    """Say how many snapshots only their locks keep, and the day of the last end of these."""
    found = removed.get("locked")
    staying = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if not staying:
        return ""
    last = max(str(each.get("until", "")) for each in staying).partition("T")[0]
    return f"{len(staying)} until {last}"


ROTATED = Form(
    headline=lambda sheet: f"{'snapshots' if sheet.sums.removed.total() else 'nothing'} removed",
    heading=("OBJECT", "REMOVED HERE", "IN S3", "LOG", "STILL LOCKED"),
    row=_rotated_row,
    column=lambda record: "rotated" if record.part("removed") else _LEFT_ALONE,
    right=frozenset({1, 2, 3, 4}),
)


def _foretold_row(record: Record) -> Row | None:
    verdicts = record.fields.get("verdicts")
    if record.failed or not isinstance(verdicts, list):
        return None
    going = Counter(
        verdict.get("place")
        for verdict in verdicts
        if isinstance(verdict, dict) and not verdict.get("keep")
    )
    staying = len(verdicts) - going.total()
    return record.carrier, str(going["local"] or "-"), str(going["s3"] or "-"), str(staying)


FORETOLD = Form(
    headline=lambda sheet: "nothing is removed in a dry run",
    heading=("OBJECT", "WOULD GO HERE", "IN S3", "STAY"),
    row=_foretold_row,
    column=lambda record: "looked at" if "verdicts" in record.fields else _LEFT_ALONE,
    right=frozenset({1, 2, 3}),
)


def _pulled_row(record: Record) -> Row | None:
    log = record.part("wal")
    if not log or record.failed:
        return None
    sizes = [size(number(log, name)) for name in ("bytes", "stored")]
    return record.carrier, str(log.get("from")), str(log.get("to")), *sizes


PULLED = Form(
    headline=lambda sheet: f"{'the log is' if sheet.rows else 'nothing was'} brought to S3",
    heading=("OBJECT", "FROM", "TO", "LOG", "STORED"),
    row=_pulled_row,
    column=lambda record: "brought",
    right=frozenset({3, 4}),
)
