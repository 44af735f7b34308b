"""The last runs: when each began, how long it took, how it ended and what it did."""

import json
from datetime import datetime
from pathlib import Path

from three_backup.deciding.due import Clock
from three_backup.host.locks import run_at_work
from three_backup.screen import formats
from three_backup.screen.terminal import Colour, painted
from three_backup.watching import run_history
from three_backup.watching.run_history import PastRun

_HEADING = ("BEGAN", "TOOK", "STATUS", "WHAT IT DID")
_GAPS, _NARROWEST = 2 * 3, 20
_AT_WORK, _KILLED = "at work", "killed"


def run_lines(local_dir: Path) -> str:
    """Return a line of JSON for each run, the newest last."""
    records = ({"v": 1, "run": run.to_json()} for run in run_history.read(local_dir))
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records)
    return "".join(f"{line}\n" for line in lines)


def run_table(local_dir: Path, clock: Clock, width: int | None, *, coloured: bool) -> str:
    """Format a table, the newest run last. width: of its lines, None: no limit."""
    runs = run_history.read(local_dir)
    if not runs:
        return "no run is known: tb-run remembers the last twenty\n"
    since = _at_work_since(local_dir)
    rows = [_row(run, clock, at_work=run.began_at.replace(microsecond=0) == since) for run in runs]

    def paint(row: int, line: str) -> str:
        bad = row > 0 and rows[row - 1][2] not in ("0", _AT_WORK)
        return painted(line, Colour.RED if bad else None, coloured=coloured)

    shown = [_HEADING, *rows]
    if width is not None:
        used = sum(max(len(row[column]) for row in shown) for column in range(3)) + _GAPS
        room = max(width - used, _NARROWEST)
        shown = [(*row[:3], _cut(row[3], room)) for row in shown]
    return formats.table(shown, frozenset({1}), paint=paint)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _at_work_since(local_dir: Path) -> datetime | None:
    """Return when the run began, in whole seconds, that is at work; None if there is none."""
    newest = run_at_work(local_dir)
    return newest[0] if newest is not None and newest[1] else None


def _row(run: PastRun, clock: Clock, *, at_work: bool) -> tuple[str, str, str, str]:
    began = clock.shown(run.began_at)
    if run.ended_at is None or run.status is None:
        old = formats.duration((clock.now - run.began_at).total_seconds())
        return began, old if at_work else "-", _AT_WORK if at_work else _KILLED, run.words
    took = formats.duration((run.ended_at - run.began_at).total_seconds())
    return began, took, str(run.status), run.words
