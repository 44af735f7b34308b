"""Shows a list to people: tables of the objects and of their snapshots."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from three_backup.config import Configuration
from three_backup.deciding.due import Clock
from three_backup.keeping import moments
from three_backup.listing.listed import Listed, Wanted
from three_backup.model.records import Record
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation
from three_backup.screen import formats
from three_backup.screen.terminal import Colour, painted
from three_backup.watching import forms
from three_backup.watching.proved import Proved
from three_backup.watching.snapshot_table import snapshot_table

BY_ITSELF = "without records it lists by itself: tb-list < /dev/null"
_RIGHT = frozenset({2})


def show(invocation: Invocation, wanted: Wanted, listed: Sequence[Listed], proved: Proved) -> None:
    every = [record for entry in listed for record in entry.records]
    for record in every:
        invocation.count(record)
    records = [record for record in every if "select" not in record.fields]
    if not every:
        here = f"; {BY_ITSELF}" if invocation.is_piped else ""
        invocation.say(f"there is nothing to list{here}")
    if records:
        _show_objects(invocation, _columns(invocation.configuration, wanted, proved), records)
        _show_snapshots(invocation, listed)


def _show_objects(
    invocation: Invocation,
    columns: Mapping[str, Callable[[Record], str]],
    records: Sequence[Record],
) -> None:
    rows = [[cell(record) for cell in columns.values()] for record in records]

    def paint(row: int, line: str) -> str:
        failed = row > 0 and records[row - 1].failed
        return painted(line, Colour.RED if failed else None, coloured=invocation.coloured)

    invocation.write(formats.table([list(columns), *rows], _RIGHT, invocation.width, paint))


def _columns(
    configuration: Configuration, wanted: Wanted, proved: Proved
) -> dict[str, Callable[[Record], str]]:
    """Return the columns: by its heading, what each shows of a record."""
    columns: dict[str, Callable[[Record], str]] = {
        "OBJECT": lambda record: record.id,
        "KIND": partial(_kind, configuration),
        "SIZE": forms.size_of,
    }
    if wanted.stages:
        columns["STAGE"] = lambda record: record.fields["stage"] if _has(record, "stage") else ""
        columns["MAX STAGE"] = _bound
    if wanted.drills:
        columns["PROVED"] = proved.age
    return columns


def _has(record: Record, field: str) -> bool:
    """Return whether to show a field: of a failed record only the failure is shown."""
    return not record.failed and field in record.fields


def _kind(configuration: Configuration, record: Record) -> str:
    """Return what an object is, and that it is not backed up if the configuration says so."""
    named = forms.kind(record)
    if record.failed or record.unsupported or "s3_prefix" in record.fields:
        return named
    return f"{named}, disabled" if configuration.settings(record.object).disable else named


def _bound(record: Record) -> str:
    if _has(record, "disabled"):
        return "disabled"
    return str(record.fields["max_stage"]) if _has(record, "max_stage") else ""


def _show_snapshots(invocation: Invocation, listed: Sequence[Listed]) -> None:
    clock = Clock(invocation.clock(), host_zone(os.environ))
    known = ((entry.carrier, entry.snapshots) for entry in listed)
    if snapshots := snapshot_table(known, clock, invocation.width):
        invocation.write(f"\n{snapshots}")
    for entry in listed:
        if entry.log is not None:
            told = moments.sentences(entry.log, clock.zone)
            lines = (entry.carrier, *(f"  {line}" for line in told))
            invocation.write("\n" + "\n".join(lines) + "\n")
