"""tb-wal - bring the log of PostgreSQL into S3, and back

Usage:
  tb-wal pull [options]
  tb-wal push PATH [options]
  tb-wal fetch FILE PATH [options]

Options:
      --s3-prefix NAME  fetch what another host archived, below its s3_prefix
      --adopt           take over a prefix that another host wrote
      --json            with pull: records on a terminal, too, in place of a table
      --progress WHEN   draw a bar: auto, always or never [default: auto]
  -c, --config FILE     the configuration
      --env-file FILE   PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help            show this
      --version         show the version

pull brings the log up to now into S3, from a replication slot that it makes, and ends.
push is for the server's archive_command (tb-wal push %p), and fetch for the restore_command of a
server that recovers (tb-wal fetch %f %p).
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from three_backup.errors import BackupError, BusyError, Exit, UsageError
from three_backup.host.handed import Notes
from three_backup.host.places import configuration_file, state_folder
from three_backup.model import wal

if TYPE_CHECKING:
    from types import TracebackType

    from three_backup.model.records import Record
    from three_backup.pipe import Invocation
    from three_backup.sources.postgres.wal.pull import Pulled

_ABORT = 126
"""The exit status of a fetch that failed. PostgreSQL gives up recovery where restore_command ends
with more than 125; with less it takes the file for missing, all WAL for recovered, and starts."""


@dataclass(frozen=True, slots=True)
class Args:
    pull: bool
    push: bool
    file: str
    path: Path

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        if arguments["--s3-prefix"] is not None and not arguments["fetch"]:
            raise UsageError("usage", "--s3-prefix goes with fetch only", "leave it out")
        return cls(
            pull=bool(arguments["pull"]),
            push=bool(arguments["push"]),
            file=arguments["FILE"] or "",
            path=Path(arguments["PATH"] or ""),
        )


def main() -> int:
    if _is_stored(sys.argv[1:]):
        return 0
    from three_backup import pipe  # it costs more than all of a call that has nothing to do

    if "fetch" not in sys.argv:
        return pipe.main(__doc__, run)
    sys.excepthook = _abort
    return pipe.main(__doc__, run, unable=_unable)


def _is_stored(arguments: Sequence[str]) -> bool:
    """Tell whether a call before this one stored the file that shall be pushed.

    In doubt it is not: then the arguments and the configuration are read as always.
    """
    match arguments:
        case ["push", path]:
            configuration = configuration_file(os.environ)
        case ["push", path, "-c" | "--config", named] | ["-c" | "--config", named, "push", path]:
            configuration = Path(named)
        case _:
            return False
    with suppress(OSError, ValueError):
        default = state_folder(os.environ, os.geteuid())
        return configuration is not None and Notes.told_by(configuration, default).has(Path(path))
    return False


def run(invocation: "Invocation") -> int | None:
    args = Args.of(invocation.arguments)
    if args.pull:
        _pull(invocation)
    elif args.push:
        _push(invocation, args.path)
    elif not _fetch(invocation, args):
        return Exit.FAILED
    return None


def _unable(name: str, error: BackupError) -> int:
    from three_backup.pipe import complain

    complain(f"{name}: {error}")
    return _ABORT


def _abort(
    kind: type[BaseException], error: BaseException, traceback: "TracebackType | None"
) -> NoReturn:
    """End as a failed fetch does, whatever it is that nobody foresaw."""
    sys.__excepthook__(kind, error, traceback)
    os._exit(_ABORT)


def _push(invocation: "Invocation", path: Path) -> None:
    from three_backup.sources.postgres.wal.push import push

    settings = invocation.configuration.source_settings(wal.SOURCE)
    catalog = invocation.catalog(settings.storage)
    notes = Notes(settings.storage.local_dir, invocation.configuration.path)
    push(catalog, path, notes, settings.compression_level, invocation.say)


def _fetch(invocation: "Invocation", args: Args) -> bool:
    from three_backup.sources.postgres.wal.fetch import fetch

    settings = invocation.configuration.source_settings(wal.SOURCE)
    return fetch(invocation.catalog(settings.storage), args.file, args.path)


def _pull(invocation: "Invocation") -> None:
    from three_backup.host import signals
    from three_backup.model.records import of_source
    from three_backup.pipe import translated
    from three_backup.sources.postgres.wal.pull import gap_error, pull
    from three_backup.watching.forms import PULLED
    from three_backup.watching.sheet import Sheet

    invocation.present(Sheet(PULLED))
    settings, started = invocation.configuration.source_settings(wal.SOURCE), time.monotonic()
    record, error = of_source(wal.SOURCE, wal.SOURCE), None
    try:
        with translated(), invocation.bar("WAL", None) as progress:
            pulled = pull(
                invocation.catalog(settings.storage),
                settings.compression_level,
                progress,
                invocation.say,
            )
        record = _record(pulled, time.monotonic() - started)
        error = gap_error(pulled)
    except BusyError:
        raise
    except BackupError as raised:
        signals.obey()  # it may have replaced what a signal raised
        error = raised
    invocation.emit(record if error is None else invocation.fail(record, error))


def _record(pulled: "Pulled", seconds: float) -> "Record":
    from three_backup.model.records import of_source
    from three_backup.sources.postgres.wal.names import lsn

    fields: dict[str, Any] = {
        "timeline": pulled.timeline,
        "from": lsn(pulled.start),
        "to": lsn(pulled.end),
        "pieces": pulled.received.pieces,
        "bytes": pulled.received.bytes,
        "stored": pulled.received.stored,
        "seconds": round(seconds, 3),
    }
    if pulled.gap is not None:
        fields["gap"] = dict(zip(("from", "to"), map(lsn, pulled.gap), strict=True))
    return of_source(pulled.carrier, wal.SOURCE, carrier=pulled.carrier, wal=fields)
