"""tb-wal - bring the log of PostgreSQL into S3, and back

Usage:
  tb-wal pull [options]

Options:
      --adopt          take over a prefix that another host wrote
      --progress WHEN  draw a bar: auto, always or never [default: auto]
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

pull brings the log up to now into S3, from a replication slot that it makes, and ends.
"""

import time
from typing import TYPE_CHECKING, Any

from three_backup import pipe
from three_backup.errors import BackupError, BusyError
from three_backup.host import signals
from three_backup.model.records import Record, of_source
from three_backup.pipe import Invocation, translated

if TYPE_CHECKING:
    from three_backup.sources.postgres.wal.pull import Pulled

_TYPE = "postgres"


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> int | None:
    _pull(invocation)
    return None


def _pull(invocation: Invocation) -> None:
    from three_backup.sources.postgres.wal.pull import gap_error, pull

    settings, started = invocation.configuration.source_settings(_TYPE), time.monotonic()
    record, error = of_source(_TYPE, _TYPE), None
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


def _record(pulled: "Pulled", seconds: float) -> Record:
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
    return of_source(pulled.carrier, _TYPE, carrier=pulled.carrier, wal=fields)
