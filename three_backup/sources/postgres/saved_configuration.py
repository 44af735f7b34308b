"""The configuration of a server as a snapshot keeps it.

The configuration files may lie outside of the data directory (Debian: `/etc/postgresql/17/main`).
PostgreSQL's base backups do not include them then.
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
"""The files' names in a data directory, by the setting that says where they are."""


@dataclass(frozen=True, slots=True)
class SavedConfiguration:
    """The configuration of a server."""

    # Text of the files outside of the data directory that could be read, by their NAMES inside.
    files: Mapping[str, str]
    settings: Mapping[str, str]  # by name; all that come from a file, wherever it lies

    def to_json(self) -> bytes:
        return json.dumps({"files": self.files, "settings": self.settings}).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        fields = json.loads(body)
        return cls(fields["files"], fields["settings"])
