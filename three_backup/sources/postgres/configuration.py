"""The configuration of a server as a snapshot keeps it.

A data directory may have its configuration elsewhere (Debian: `/etc/postgresql/17/main`), where
no backup of PostgreSQL reaches.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

NAMES = {
    "config_file": "postgresql.conf",
    "hba_file": "pg_hba.conf",
    "ident_file": "pg_ident.conf",
}
"""What the files are called in a data directory, by the setting that says where they are."""


@dataclass(frozen=True, slots=True)
class SavedConfiguration:
    """files: the text of those that lie outside of the data directory and could be read, by
    their names inside of one; settings: what some file set, by name, wherever that file is."""

    files: Mapping[str, str]
    settings: Mapping[str, str]

    def to_json(self) -> bytes:
        return json.dumps({"files": self.files, "settings": self.settings}).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        fields = json.loads(body)
        return cls(fields["files"], fields["settings"])
