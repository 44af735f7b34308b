"""What people see of records: few rows, all sums, whatever the records say."""

import tracemalloc
from typing import Any

import pytest

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record, malformed_line, of_selector, of_source
from three_backup.screen.terminal import Screen
from three_backup.watching import forms, forms_of_proof
from three_backup.watching.sheet import Form, Sheet

CARRIER = "postgres/cluster/7"
REFUSED = BackupError("s3.denied", "the bucket refuses the key", "correct the key")
FORMS = (
    forms.FOUND,
    forms.PLANNED,
    forms.TAKEN,
    forms.UPLOADED,
    forms.ROTATED,
    forms.FORETOLD,
    forms_of_proof.VERIFIED,
    forms.PULLED,
)
TAKEN = {"kind": "base", "source_size": 2_000_000, "stored_size": 500_000, "seconds": 3}


def table(name: str, **fields: Any) -> Record:
    return Record.of(ObjectId("postgres", "table", "shop", "public", name), **fields)


def visits(**fields: Any) -> Record:
    return Record.of(ObjectId("clickhouse", "table", "default", "shop", "visits"), **fields)


def text(form: Form, *records: Record, width: int = 120, coloured: bool = False) -> str:
    sheet = Sheet(form)
    for record in records:
        sheet.add(record)
    return sheet.text(2, Screen(width, coloured))


def lines(form: Form, *records: Record) -> list[list[str]]:
    return [line.split() for line in text(form, *records).splitlines()]


def test_what_is_found_is_counted_by_type_and_kind() -> None:
    seen = table("seen")
    found = text(forms.FOUND, table("a", size=1000), seen.with_fields(subtype="view"), visits())
    assert "3 objects found" in found
    assert [line.split() for line in found.splitlines()[-6:-3]] == [
        ["objects", "table", "view"],
        ["postgres", "2", "1", "1"],
        ["clickhouse", "1", "1", "-"],
    ]
    assert found.splitlines()[-2].split() == ["size", "1", "kB"]


def test_a_plan_has_a_row_a_carrier_and_says_why() -> None:
    why = {"carrier": CARRIER, "take": "base", "todo": ["snapshot_base"], "why": "none yet"}
    idle = {"todo": [], "why": "nothing is due before tomorrow"}
    shown = lines(forms.PLANNED, table("a", **why), table("b", **why), visits(**idle))
    assert shown[1:3] == [[CARRIER, "base", "none", "yet"], []]
    assert "1 object: nothing is due before tomorrow" in text(forms.PLANNED, visits(**idle))
    assert ["something", "is", "to", "be", "done", "for", "2", "of", "3", "objects"] in shown


@pytest.mark.parametrize(
    ("todo", "word", "why"),
    [
        (["synced_s3", "rotated_s3"], "upload", "S3 lacks a snapshot of it"),
        (["rotated_s3"], "rotation", "retention has something to do"),
    ],
)
def test_a_plan_without_a_snapshot_says_what_else_is_left(
    todo: list[str], word: str, why: str
) -> None:
    (_, row, *_) = lines(forms.PLANNED, visits(todo=todo, take=None, why="nothing is due"))
    assert row[1:] == [word, *why.split()]


def test_a_snapshot_of_many_objects_is_one() -> None:
    records = [table(name, carrier=CARRIER, snapshot=TAKEN) for name in "abc"]
    shown = text(forms.TAKEN, *records, visits(why="disabled"))
    assert shown.splitlines()[1].split() == [
        *(CARRIER, "base", "2", "MB", "500", "kB", "3.0", "s"),
    ]
    assert "1 snapshot taken\n" in shown
    assert "1 base: 2 MB at the source, 500 kB stored" in shown
    assert "1 object: disabled" in shown


def test_what_was_uploaded_and_what_of_it_earlier() -> None:
    sent = {"snapshots": ["x", "y"], "bytes": 5000, "resumed": 2000, "seconds": 1.5}
    idle = {"snapshots": [], "bytes": 0, "resumed": 0, "seconds": 0}
    shown = lines(
        forms.UPLOADED, table("a", carrier=CARRIER, uploaded=sent), visits(uploaded=idle)
    )
    assert shown[1] == [CARRIER, "2", "5", "kB", "2", "kB", "1.5", "s"]
    assert ["2", "snapshots", "uploaded"] in shown
    assert not any("visits" in cell for line in shown for cell in line)


def test_what_was_removed_and_what_would_be() -> None:
    removed = {"local": ["x"], "s3": ["x", "y"], "wal": {"keys": 3, "bytes": 2000}}
    assert lines(forms.ROTATED, visits(removed=removed))[1][1:] == ["1", "2", "2", "kB", "-"]
    locked = [{"snapshot": "x", "until": f"2026-12-0{day}T03:00:00Z"} for day in (3, 5, 4)]
    waiting = visits(removed={"local": [], "s3": [], "locked": locked})
    assert lines(forms.ROTATED, waiting)[1][1:] == ["-", "-", "-", "3", "until", "2026-12-05"]
    verdicts = [{"place": place, "keep": place == "local"} for place in ("local", "s3", "s3")]
    assert lines(forms.FORETOLD, visits(verdicts=verdicts))[1][1:] == ["-", "2", "1"]


def test_what_was_pulled_of_the_log() -> None:
    log = {"from": "0/1000000", "to": "0/3000000", "bytes": 2000, "stored": 500, "seconds": 1}
    pulled = of_source(CARRIER, "postgres", carrier=CARRIER, wal=log)
    shown = lines(forms.PULLED, pulled)
    assert shown[1] == [CARRIER, "0/1000000", "0/3000000", "2", "kB", "500", "B"]
    assert ["the", "log", "is", "brought", "to", "S3"] in shown
    assert "nothing was brought to S3" in text(forms.PULLED, pulled.with_error("tb-wal", REFUSED))


def test_what_was_proved_and_what_failed() -> None:
    good = visits(drilled={"how": "restored", "rows": 12, "bytes_read": 4000, "seconds": 1})
    bad, absent = table("bad").with_error("tb-verify", REFUSED), table("late")
    shown = text(forms_of_proof.VERIFIED, good, bad, absent)
    assert "1 object proved, 1 object not there then; 1 of 3 objects failed" in shown
    assert good.id in shown
    assert shown.count(bad.id) == 2  # its row, and its sentence
    assert "rows  12" in shown


def test_failures_are_red_and_told_once_more() -> None:
    bad = table("bad").with_error("tb-snapshot", REFUSED)
    shown = text(forms.TAKEN, bad, visits(snapshot=TAKEN), coloured=True)
    assert "\033[31m1 snapshot taken; 1 of 2 objects failed\033[0m" in shown
    assert "the bucket refuses the key; correct the key" in shown
    assert "\033[32m1 snapshot taken\033[0m" in text(
        forms.TAKEN, visits(snapshot=TAKEN), coloured=True
    )


def test_a_selector_of_nothing_is_called_by_its_name() -> None:
    unmatched = of_selector("postgres/table/shpo/*").with_error("tb-discover", REFUSED)
    for form in (forms.FOUND, forms_of_proof.VERIFIED):
        assert "postgres/table/shpo/*  failed" in text(form, unmatched)


def test_a_source_or_a_line_that_failed_is_no_object() -> None:
    away = of_source("postgres", "postgres").with_error("tb-discover", REFUSED)
    shown = text(forms.FOUND, away, visits(), malformed_line("tb-plan", 7, REFUSED))
    assert "1 object found; 2 failures" in shown
    assert "line 7" in shown


@pytest.mark.parametrize("form", FORMS)
def test_no_records_are_no_table(form: Form) -> None:
    assert "OBJECT" not in text(form)
    assert text(form).endswith("took  2.0 s\n")


@pytest.mark.parametrize("form", FORMS)
def test_fields_that_hold_something_else_are_no_figures(form: Form) -> None:
    names = (
        "snapshot",
        "uploaded",
        "removed",
        "verdicts",
        "drilled",
        "wal",
        "size",
        "take",
        "why",
    )
    nonsense = (
        [1, None],
        7,
        "x",
        {"kind": [], "bytes": -1, "rows": 1 << 70, "seconds": "x"},
        True,
    )
    wrong = [{"local": 1, "s3": {}, "wal": 3, "snapshots": {}, "seconds": float("nan")}, *nonsense]
    records = [visits(type=[], **dict.fromkeys(names, value)) for value in wrong]
    if form is forms.PLANNED:
        records = [record.with_fields(take=None, todo=[]) for record in records]
    assert f"{len(wrong)} objects" in text(form, *records) or form is not forms.FOUND


@pytest.mark.parametrize("form", FORMS)
def test_however_many_records_come_memory_is_flat(form: Form) -> None:
    done = {"snapshot": TAKEN, "uploaded": {"snapshots": ["x"]}, "removed": {"s3": ["x"]}}

    def feed(sheet: Sheet, numbers: range) -> None:
        for number in numbers:
            record = table(f"{number:05}", why=f"reason {number}", **done)
            sheet.add(record if number % 2 else record.with_error("tb-plan", REFUSED))

    sheet = Sheet(form)
    feed(sheet, range(1000))
    tracemalloc.start()
    feed(sheet, range(1000, 6000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000
    assert len(sheet.text(1, Screen()).splitlines()) < 300


def test_rows_without_room_are_counted() -> None:
    shown = text(forms.FOUND, *(table(str(number)) for number in range(500)))
    assert "and 300 more, which --json shows\n" in shown
    assert "500 objects found" in shown
