"""Notes of what this host asks a server to write to S3, on disk before the server is asked.

The next run finds what a killed run began: by its id at the server and by its folder in S3.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from three_backup.errors import BackupError
from three_backup.host.durable import torn, write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId

_NOTE = "attempt.json"
_ID = "three_backup-{}"
_VERSION = 1
_FOLDER = re.compile(r"[0-9TZ]+-(?:base|incr-[0-9TZ]+)/[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A snapshot of a chain."""

    folder: str  # relative to the carrier's
    keys: int  # how many lie in the folder, as `stored.Contents` counts them
    size: int  # bytes of the keys, as `stored.Contents` counts them


@dataclass(frozen=True, slots=True)
class Attempt:
    """A snapshot that a server is asked to write."""

    carrier: Carrier
    snapshot: SnapshotId
    name: str  # no other attempt ever has it
    chain: tuple[StoredLink, ...]  # what the snapshot builds on, the base first
    size: int  # bytes of the object when the attempt began
    facts: Mapping[str, Any]  # of the object when the attempt began
    server: str
    watched: tuple[str, str] | None = None  # database and name of a table whose rows may change
    patched: bool = False  # lightweight updates may change them
    since: str = ""  # the server's time when the attempt began

    @property
    def id(self) -> str:
        """The id by which the server knows the attempt."""
        return _ID.format(self.name)

    @property
    def folder(self) -> str:
        """The folder of the attempt, relative to the carrier's."""
        return f"{self.snapshot}/{self.name}"

    @property
    def key(self) -> str:
        return folder_key(self.carrier, self.folder)

    def note(self, journals: Path) -> None:
        path = journals / str(self.snapshot) / _NOTE
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {
            "v": _VERSION,
            "name": self.name,
            "chain": [asdict(link) for link in self.chain],
            "size": self.size,
            "facts": self.facts,
            "server": self.server,
            "watched": self.watched,
            "patched": self.patched,
            "since": self.since,
        }
        write_durably(path, json.dumps(fields).encode() + b"\n")

    def forget(self, journals: Path) -> None:
        folder = journals / str(self.snapshot)
        (folder / _NOTE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


@dataclass(frozen=True, slots=True)
class Noted:
    """An attempt whose note lies on disk."""

    attempt: Attempt
    since: float  # when it was noted, in seconds since the epoch


def folder_key(carrier: Carrier, folder: str) -> str:
    """Return the key of a folder, which is given relative to the carrier's."""
    return f"{layout.DATA}/{layout.path(carrier)}/{folder}"


def noted(carrier: Carrier, journals: Path) -> list[Noted]:
    """Return the noted attempts of a carrier, the oldest first.

    Removes half-written notes: no server was asked for those attempts.
    """
    for left in journals.glob(f"*/{torn(_NOTE)}"):
        left.unlink()
        with suppress(OSError):  # the folder still holds other files
            left.parent.rmdir()
    found = []
    for path in sorted(journals.glob(f"*/{_NOTE}")):
        snapshot = SnapshotId.parse(path.parent.name)
        if snapshot is not None:
            attempt = _attempt(carrier, snapshot, json.loads(path.read_bytes()))
            found.append(Noted(attempt, path.stat().st_mtime))
    return found


def links(facts: Mapping[str, Any]) -> tuple[StoredLink, ...]:
    """Return the chain of a snapshot, itself the last, from the facts of its manifest.

    Raises BackupError if it is malformed.
    """
    try:
        found = tuple(StoredLink(**link) for link in facts["chain"])
        if not all(_FOLDER.fullmatch(link.folder) for link in found):
            raise ValueError("a folder that is none of ours")
    except (TypeError, ValueError) as error:
        raise BackupError(
            "manifest.malformed",
            f"the chain of a snapshot of ClickHouse cannot be right ({error})",
            "restore an older snapshot; the next base replaces it",
        ) from error
    return found


def _attempt(carrier: Carrier, snapshot: SnapshotId, fields: Mapping[str, Any]) -> Attempt:
    watched = fields.get("watched")
    return Attempt(
        carrier,
        snapshot,
        str(fields["name"]),
        links(fields),
        int(fields["size"]),
        fields["facts"],
        str(fields["server"]),
        (watched[0], watched[1]) if watched else None,
        bool(fields.get("patched")),
        str(fields.get("since", "")),
    )
