"""What a run leaves behind: its record, and how everything stands after it, for others to read.

The run is done, whatever comes of that: what was backed up counts.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from three_backup.deciding.due import Clock
from three_backup.errors import BackupError
from three_backup.model.schedule import host_zone
from three_backup.pipe import Invocation, translated
from three_backup.watching import last_run, measured, metrics, run_history
from three_backup.watching.copies import Copies
from three_backup.watching.health import AgeLimits
from three_backup.watching.last_run import LastRun, RunLedger
from three_backup.watching.measured import Measured
from three_backup.watching.overview import PATIENCE, Watch, hasty
from three_backup.watching.page import Page
from three_backup.watching.run_history import PastRun


def remember(invocation: Invocation, account: RunLedger, run: LastRun, past: PastRun) -> LastRun:
    """Record the run for tb-status; return it with what it saw."""
    folder, known = invocation.configuration.run.local_dir, run
    try:
        with translated():
            known = account.closed(last_run.read(folder), run, invocation.patterns)
            last_run.write(folder, known)
            run_history.remember(folder, past)
    except BackupError as error:
        invocation.say(f"this run is not remembered for tb-status: {error}")
    return known


def publish(invocation: Invocation, last: LastRun) -> None:
    """Write the page and the metrics that the configuration asks for, by one look at S3."""
    configuration = invocation.configuration
    page_path, path = configuration.run.html_file, configuration.run.prometheus_file
    if page_path is None and path is None:
        return
    clock = Clock(invocation.clock(), host_zone(os.environ))
    copies, of_the_run = Copies(configuration, PATIENCE, invocation.say), list(last.deaths)
    watch = Watch(configuration, (), last, AgeLimits(), clock, copies)
    page = Page(page_path, watch, invocation.host, of_the_run)
    figures: Sequence[Measured] = measured.of_run(last)  # without S3 no more is known
    try:
        with translated(), page.even_of_a_failure():
            watched = watch.look(map(invocation.catalog, hasty(configuration.storages())))
            of_the_run += copies.unreadable.values()
            figures = measured.of_look(watched, last) if path is not None else figures
            page.write(watched)
    except BackupError as error:
        invocation.say(f"{page_path or path} does not show this run: {error}")
    if path is not None:
        _write(invocation, path, figures, last)


def _write(invocation: Invocation, path: Path, figures: Sequence[Measured], last: LastRun) -> None:
    try:
        with translated():
            metrics.write(path, figures, last)
    except BackupError as error:
        invocation.say(f"{path} does not show this run: {error}")
