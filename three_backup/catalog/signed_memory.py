"""A memory of keys in S3 that were found signed: each is read once, until its ETag is another."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from three_backup.catalog.cache import folder_of
from three_backup.host.durable import write_durably
from three_backup.model.signing import Keyring
from three_backup.model.storage import Storage


@dataclass(frozen=True, slots=True)
class SignedMemory:
    """The memory of one storage: for each subject, what is known of keys, by their names."""

    storage: Storage
    keyring: Keyring

    def read(self, subject: str) -> Mapping[str, str]:
        """Return what is known under the present keys; empty if nothing is."""
        try:
            fields = json.loads(self._path(subject).read_bytes())
            return dict(fields["etags"]) if fields["keys"] == self.keyring.id else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, subject: str, known: Mapping[str, str]) -> None:
        # A user who may only read goes without the memory.
        if self.storage.as_of is not None or not os.access(self.storage.local_dir, os.W_OK):
            return
        path = self._path(subject)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fields = {"v": 1, "keys": self.keyring.id, "etags": known}
        write_durably(path, json.dumps(fields).encode() + b"\n")

    def _path(self, subject: str) -> Path:
        return folder_of(self.storage) / "signed" / f"{subject}.json"
