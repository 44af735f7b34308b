"""Tells records of another host, or of a further store, from those of what this run reads."""

import shlex

from three_backup.errors import BackupError
from three_backup.model.records import Record


def check_origin(record: Record, tool: str, s3_prefix: str | None, store: str | None) -> None:
    """Raise BackupError if the record is of a prefix or a store that this run does not read, or
    names no object.
    """
    object_id = record.object
    prefix, copies = record.fields.get("s3_prefix"), record.fields.get("store")
    if prefix not in (None, s3_prefix):
        raise BackupError(
            "input.foreign",
            f"{object_id}: the record is of prefix {prefix}, which another host writes",
            f"restore it with tb-restore --s3-prefix {shlex.quote(str(prefix))}",
        )
    if copies not in (None, store):
        raise BackupError(
            "input.store",
            f"{object_id}: the record is of the copies in store {copies}",
            f"read them there, too: {tool} --store {shlex.quote(str(copies))}",
        )
