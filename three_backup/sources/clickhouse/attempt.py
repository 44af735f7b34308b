"""What this host asked a server to write to S3, on disk before it is asked: whoever is killed, the
next run finds it, by its id at the server and by its folder in S3."""

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
from three_backup.model.snapshots import SnapshotId

_NOTE = "attempt.json"
_ID = "three_backup-{}"
_VERSION = 1
_FOLDER = re.compile(r"[0-9TZ]+-(?:base|incr-[0-9TZ]+)/[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Link:
    """A snapshot of a chain. folder: relative to the carrier's; keys, size: what lies in it,
    see `stored.Contents`."""

    folder: str
    keys: int
    size: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """name: that no other attempt ever has; chain: what the snapshot builds on, the base first;
    size, facts: of the object when it began."""

    carrier: str
    snapshot: SnapshotId
    name: str
    chain: tuple[Link, ...]
    size: int
    facts: Mapping[str, Any]
    server: str

    @property
    def id(self) -> str:
        """By which the server knows it."""
        return _ID.format(self.name)

    @property
    def folder(self) -> str:
        """Relative to that of the carrier."""
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
        }
        write_durably(path, json.dumps(fields).encode() + b"\n")

    def forget(self, journals: Path) -> None:
        folder = journals / str(self.snapshot)
        (folder / _NOTE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


@dataclass(frozen=True, slots=True)
class Noted:
    """since: when, as seconds since the epoch."""

    attempt: Attempt
    since: float


def folder_key(carrier: str, folder: str) -> str:
    """folder: relative to that of the carrier."""
    return f"{layout.DATA}/{layout.path(carrier)}/{folder}"


def noted(carrier: str, journals: Path) -> list[Noted]:
    """Oldest first. A note that was not written to its end is none, and goes: nobody was asked."""
    for left in journals.glob(f"*/{torn(_NOTE)}"):
        left.unlink()
        with suppress(OSError):  # others have theirs in it
            left.parent.rmdir()
    found = []
    for path in sorted(journals.glob(f"*/{_NOTE}")):
        snapshot = SnapshotId.parse(path.parent.name)
        if snapshot is not None:
            attempt = _attempt(carrier, snapshot, json.loads(path.read_bytes()))
            found.append(Noted(attempt, path.stat().st_mtime))
    return found


def links(facts: Mapping[str, Any]) -> tuple[Link, ...]:
    """The chain of a snapshot, itself the last, by the facts of its manifest."""
    try:
        found = tuple(Link(**link) for link in facts["chain"])
        if not all(_FOLDER.fullmatch(link.folder) for link in found):
            raise ValueError("a folder that is none of ours")
    except (TypeError, ValueError) as error:
        raise BackupError(
            "manifest.malformed",
            f"the chain of a snapshot of ClickHouse cannot be right ({error})",
            "restore an older snapshot; the next base replaces it",
        ) from error
    return found


def _attempt(carrier: str, snapshot: SnapshotId, fields: Mapping[str, Any]) -> Attempt:
    return Attempt(
        carrier,
        snapshot,
        str(fields["name"]),
        links(fields),
        int(fields["size"]),
        fields["facts"],
        str(fields["server"]),
    )
