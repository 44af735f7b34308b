"""Remembers on this host how long restores took, and reads in S3 how long drills did."""

import json
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.drills import Drills
from three_backup.errors import BackupError
from three_backup.host.durable import write_durably
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import rfc3339
from three_backup.restoring.foretelling import Experience, Way

_NAME = "restores.json"
_VERSION = 1
_MOST, _MOST_OF_ONE = 200, 10


def read(folder: Path) -> list[Experience]:
    """Return what restores on this host took, the oldest first; nothing if that cannot be read."""
    try:
        fields = json.loads((folder / _NAME).read_bytes())
        return [_parsed(each) for each in fields["restores"]] if fields["v"] == _VERSION else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remember(folder: Path, done: Iterable[Experience]) -> None:
    """Add what was restored now. A user who may only read goes without."""
    if not os.access(folder, os.W_OK):
        return
    kept: list[Experience] = []
    for experience in reversed([*read(folder), *done]):
        same = [each for each in kept if _subject(each) == _subject(experience)]
        if len(kept) < _MOST and len(same) < _MOST_OF_ONE:
            kept.append(experience)
    fields = {"v": _VERSION, "restores": [_plain(each) for each in reversed(kept)]}
    write_durably(folder / _NAME, json.dumps(fields, ensure_ascii=False).encode() + b"\n")


def of_drill(catalog: Catalog, carrier: Carrier, object_id: ObjectId) -> Sequence[Experience]:
    """Return what the last good drill of an object took; nothing if S3 does not tell."""
    if catalog.s3 is None:
        return ()
    try:
        told = Drills(catalog.s3).found(object_id)
        time = datetime.fromisoformat(told["time"])
        return [
            Experience(
                carrier,
                Way.OBJECTS,
                int(told["bytes_moved"]),
                float(told["seconds"]),
                time,
                is_drill=True,
            )
        ]
    except (BackupError, KeyError, ValueError, TypeError):
        return ()


def _subject(experience: Experience) -> tuple[Carrier, Way]:
    return experience.carrier, experience.way


def _plain(experience: Experience) -> dict[str, Any]:
    return {
        "carrier": experience.carrier,
        "way": experience.way,
        "bytes": experience.moved,
        "seconds": experience.seconds,
        "time": rfc3339(experience.time),
    }


def _parsed(fields: dict[str, Any]) -> Experience:
    return Experience(
        Carrier(fields["carrier"]),
        Way(fields["way"]),
        int(fields["bytes"]),
        float(fields["seconds"]),
        datetime.fromisoformat(fields["time"]),
    )
