"""The bucket that a run reads: its own, another host's, a further store, or one of the past."""

import shlex
from dataclasses import dataclass, replace
from datetime import datetime

from three_backup.errors import BackupError
from three_backup.model.records import Record
from three_backup.model.snapshots import rfc3339
from three_backup.model.storage import Storage


@dataclass(frozen=True, slots=True)
class Origin:
    """What is read in place of the snapshots of this host."""

    s3_prefix: str | None  # of another host
    store: str | None  # a further store
    as_of: datetime | None  # as it was then

    def of(self, storage: Storage) -> Storage:
        """Return the storage that is read. storage: the configured one, of the store if any."""
        if self.s3_prefix is not None:
            storage = storage.of_another_host(self.s3_prefix)
        return storage if self.as_of is None else replace(storage, as_of=self.as_of)

    def check(self, record: Record, tool: str) -> None:
        """Raise BackupError if the record is of a prefix, a store or a moment that this run does
        not read, or names no object.
        """
        object_id = record.object
        prefix, copies = record.fields.get("s3_prefix"), record.fields.get("store")
        if prefix not in (None, self.s3_prefix):
            raise BackupError(
                "input.foreign",
                f"{object_id}: the record is of prefix {prefix}, which another host writes",
                f"restore it with tb-restore --s3-prefix {shlex.quote(str(prefix))}",
            )
        if copies not in (None, self.store):
            raise BackupError(
                "input.store",
                f"{object_id}: the record is of the copies in store {copies}",
                f"read them there, too: {tool} --store {shlex.quote(str(copies))}",
            )
        moment = record.fields.get("as_of")
        if moment not in (None, self.as_of and rfc3339(self.as_of)):
            raise BackupError(
                "input.past",
                f"{object_id}: the record is of the bucket as it was at {moment}",
                f"read it so, too: {tool} --as-of {shlex.quote(str(moment))}",
            )
