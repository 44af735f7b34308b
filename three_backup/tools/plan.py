"""tb-plan - work out what is to be done, and change nothing

Usage:
  tb-plan [--base | --incremental] [options]
  tb-plan --explain ID [options]

Options:
      --base           plan a base for every object, whatever is due
      --incremental    plan an incremental, whatever is due; a base where none can follow
      --explain ID     plan nothing; show every option of the object and the line it comes from
      --json           records on a terminal, too, in place of a table
  -c, --config FILE    the configuration
      --env-file FILE  PG* and CLICKHOUSE_* variables, instead of .env beside it
  -h, --help           show this
      --version        show the version

Reads records as tb-discover prints them. Adds stage, max_stage, take, todo and why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from three_backup import pipe
from three_backup.catalog.catalog import Catalog
from three_backup.config import explain
from three_backup.deciding.due import unsupported
from three_backup.deciding.holding import Outlook, outlook
from three_backup.errors import BackupError
from three_backup.model.kept import Kept
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.records import Record
from three_backup.model.snapshots import Kind
from three_backup.model.stages import Stage
from three_backup.model.storage import check_direct
from three_backup.pipe import Invocation
from three_backup.screen import formats
from three_backup.sources import source_of
from three_backup.watching.forms import PLANNED
from three_backup.watching.sheet import Sheet


@dataclass(frozen=True, slots=True)
class Args:
    explain: ObjectId | None
    wanted: Kind | None  # the kind of snapshot to take, whatever is due

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        given = arguments["--explain"]
        return cls(
            explain=None if given is None else ObjectId.parse(given),
            wanted=next((kind for kind in Kind if arguments[f"--{kind}"]), None),
        )


def main() -> int:
    return pipe.main(__doc__, run)


def run(invocation: Invocation) -> None:
    args = Args.of(invocation.arguments)
    if args.explain is not None:
        _explain(invocation, args.explain)
        return
    invocation.present(Sheet(PLANNED))
    for carrier, group in groupby(invocation.records(), key=lambda record: record.carrier):
        for record in _planned(invocation, args, carrier, list(group)):
            invocation.emit(record)


def _explain(invocation: Invocation, object_id: ObjectId) -> None:
    configuration = invocation.configuration
    rows = [("OPTION", "VALUE", "FROM")]
    for entry in explain(configuration, object_id):
        place = f"{configuration.path}:{entry.line} ({entry.pattern})" if entry.line else "default"
        rows.append((entry.option, entry.value, place))
    invocation.write(formats.table(rows))


def _planned(
    invocation: Invocation, args: Args, carrier: Carrier, records: list[Record]
) -> Iterator[Record]:
    ahead: Outlook | BackupError | None = None
    for record in records:
        if record.failed or record.unsupported:
            yield record if record.failed else unsupported(record)
            continue
        ahead = ahead or _outlook(invocation, args, carrier, records)
        if isinstance(ahead, BackupError):
            yield invocation.fail(record, ahead)
        else:
            settings = invocation.configuration.settings(record.object)
            yield ahead.planned(record, settings)


def _outlook(
    invocation: Invocation, args: Args, carrier: Carrier, records: list[Record]
) -> Outlook | BackupError:
    try:
        ids = [record.object for record in records if not record.failed]
        invocation.configuration.require_agreement(carrier, ids)
        _check_encryption(invocation, carrier, ids[0])
        catalog = _reachable(invocation, ids[0])
        configuration, now = invocation.configuration, invocation.clock()
        ahead = outlook(carrier, records, configuration, catalog, now, args.wanted)
    except BackupError as error:
        return error
    if ahead.from_the_future:
        invocation.say(f"{carrier}: snapshot {ahead.newest} is from the future; check the clock")
    return ahead


def _check_encryption(invocation: Invocation, carrier: Carrier, object_id: ObjectId) -> None:
    """Raise BackupError if its server would write what must be encrypted."""
    settings = invocation.configuration.settings(object_id)
    goes = not settings.disable and settings.max_stage.reaches(Stage.SYNCED_S3)
    if goes and source_of(object_id.type).kept is Kept.DIRECT:
        check_direct(settings.storage, carrier)


def _reachable(invocation: Invocation, object_id: ObjectId) -> Catalog:
    """Return the catalog, without S3 while S3 is away: this host can still take snapshots."""
    catalog = invocation.catalog(invocation.configuration.settings(object_id).storage)
    try:
        catalog.list_everything()
        return catalog
    except BackupError as error:
        from three_backup.keeping import keeping_of

        local = keeping_of(object_id.type).without_s3(catalog, error)
        invocation.say(f"{error}; planned from what lies on this host")
        return local
