"""Where the snapshots of a carrier lie: folders below `local_dir`, keys below `s3_prefix`.

A carrier holds the snapshots of one object or of many: it is the id of the object, or
`postgres/cluster/<identifier>`. Keys and folders neither begin nor end with a slash.
"""

import re
from functools import lru_cache

from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SNAPSHOT_ID, SnapshotId

MANIFESTS = "manifests"
DATA = "data"
KEEP = "keep"
WAL = "wal"
"""The folder of archived logs; see `sources.postgres.wal`."""

_LONGEST_SEGMENT = 200
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_ESCAPED = re.compile(r"(?:=[0-9A-F]{2})+")
_EMPTY = "=-"
_CONTINUED = "="
_SUFFIX = ".json"
_MANIFEST = re.compile(rf"(?<![^/]){SNAPSHOT_ID}{re.escape(_SUFFIX)}(?![^/])", re.ASCII)


def path(name: str) -> str:
    """Spell the name of a carrier as folders and keys do, in `[A-Za-z0-9._=-]` and `/` only.

    Other bytes become `=XX`, an empty segment `=-`; `.` and `..` begin with `=2E`. A segment of
    more than 200 bytes is cut into several, and all but the last end in `=`.
    """
    return "/".join(_segment(segment) for segment in name.split("/"))


def name(path_: str) -> str:
    """Return the carrier of a path; for any other path, the name of one without snapshots."""
    return "/".join(map(_name, path_.replace(f"{_CONTINUED}/", "").split("/")))


def manifest_folder(carrier: Carrier) -> str:
    return f"{MANIFESTS}/{path(carrier)}"


def manifest_key(carrier: Carrier, snapshot: SnapshotId) -> str:
    return f"{manifest_folder(carrier)}/{snapshot}{_SUFFIX}"


def snapshots_of(names: str) -> list[SnapshotId]:
    """Return the snapshots whose manifests have these names, each once; ignore other names.

    names: without their folder, joined by slashes, since no name contains one.
    """
    each_once = "/".join(dict.fromkeys(names.split("/")))
    return list(SnapshotId.named(_MANIFEST.findall(each_once)))


def carrier_of_manifests(folder: str) -> Carrier | None:
    """Return the carrier of a manifest folder; None if it is no carrier's."""
    top, _, rest = folder.partition("/")
    return _carrier(rest) if top == MANIFESTS else None


def data_folder(carrier: Carrier, snapshot: SnapshotId) -> str:
    return f"{DATA}/{path(carrier)}/{snapshot}"


def data_key(carrier: Carrier, snapshot: SnapshotId, file: str) -> str:
    return f"{data_folder(carrier, snapshot)}/{file}"


def parse_data_key(key: str) -> tuple[Carrier, SnapshotId] | None:
    """Return the carrier and the snapshot of a data file; None if the key is not ours."""
    top, _, rest = key.partition("/")
    folder, _, file = rest.rpartition("/")
    folder, _, name = folder.rpartition("/")
    return _ours(folder, SnapshotId.parse(name)) if top == DATA and file else None


def folder_of_data(key: str) -> tuple[Carrier, SnapshotId] | None:
    """Return the carrier and the snapshot in whose folder a key lies, however deep.

    None if the key is not ours, or if it could lie in two such folders.
    """
    top, *segments = key.split("/")
    found = [
        place
        for number, segment in enumerate(segments[:-1])
        if (place := _ours("/".join(segments[:number]), SnapshotId.parse(segment)))
        and (place[0].is_object or place[0].is_server)
    ]
    return found[0] if top == DATA and len(found) == 1 else None


def hold_folder(carrier: Carrier) -> str:
    return f"{KEEP}/{path(carrier)}"


def hold_key(carrier: Carrier, snapshot: SnapshotId) -> str:
    return f"{hold_folder(carrier)}/{snapshot}{_SUFFIX}"


def parse_hold_key(key: str) -> tuple[Carrier, SnapshotId] | None:
    """Return the carrier and the snapshot that is held; None if the key is no hold."""
    top, _, rest = key.partition("/")
    folder, _, name = rest.rpartition("/")
    is_one = top == KEEP and name.endswith(_SUFFIX)
    return _ours(folder, SnapshotId.parse(name.removesuffix(_SUFFIX))) if is_one else None


def _ours(folder: str, snapshot: SnapshotId | None) -> tuple[Carrier, SnapshotId] | None:
    found = _carrier(folder) if snapshot else None
    return (found, snapshot) if found and snapshot else None


@lru_cache(maxsize=16)  # keys are listed folder by folder
def _carrier(folder: str) -> Carrier | None:
    found = Carrier(name(folder))
    return found if path(found) == folder else None


def _segment(name: str) -> str:
    escaped = _OTHER.sub(lambda m: _escape(m[0]), name) or _EMPTY
    if len(escaped) <= _LONGEST_SEGMENT:
        return _not_dots(escaped)
    length = _LONGEST_SEGMENT - len(_CONTINUED)
    pieces = [escaped[start : start + length] for start in range(0, len(escaped), length)]
    return f"{_CONTINUED}/".join((*pieces[:-1], _not_dots(pieces[-1])))


def _not_dots(segment: str) -> str:
    return segment.replace(".", "=2E", 1) if segment in (".", "..") else segment


def _escape(characters: str) -> str:
    return "".join(f"={byte:02X}" for byte in characters.encode("utf-8", "surrogatepass"))


def _name(segment: str) -> str:
    if segment == _EMPTY:
        return ""
    return _ESCAPED.sub(lambda m: _unescape(m[0]), segment)


def _unescape(escaped: str) -> str:
    try:
        return bytes.fromhex(escaped.replace("=", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return escaped
