"""Where the snapshots of a carrier lie: folders below `local_dir`, keys below `s3_prefix`.

A carrier is who holds the snapshots of an object: its id, or `postgres/cluster/<identifier>`.
Keys are relative to the prefix of the bucket.
"""

import re
from pathlib import Path

from three_backup.snapshots import SnapshotId

MANIFEST = "manifest.json"
OWNER_KEY = "owner.json"
MANIFESTS = "manifests/"
DATA = "data/"

_LONGEST_SEGMENT = 200
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_ESCAPED = re.compile(r"(?:=[0-9A-F]{2})+")
_EMPTY = "=-"
_CONTINUED = "="
_SUFFIX = ".json"


def path(carrier: str) -> str:
    """The carrier in `[A-Za-z0-9._=-]` and `/` only, for folders and keys; `unpath` undoes it.

    Other bytes become `=XX`, an empty segment `=-`, `.` and `..` begin with `=2E`; a segment of
    more than 200 bytes runs over several, all but the last of which end in `=`.
    """
    return "/".join(_segment(segment) for segment in carrier.split("/"))


def unpath(path_: str) -> str | None:
    """The carrier whose path this is; None where it is nobody's."""
    try:
        carrier = "/".join(map(_name, path_.replace(f"{_CONTINUED}/", "").split("/")))
    except UnicodeDecodeError:
        return None
    return carrier if path(carrier) == path_ else None


def manifests_prefix(carrier: str) -> str:
    return f"{MANIFESTS}{path(carrier)}/"


def manifest_key(carrier: str, snapshot: SnapshotId) -> str:
    return f"{manifests_prefix(carrier)}{snapshot}{_SUFFIX}"


def parse_manifest_key(key: str) -> tuple[str, SnapshotId] | None:
    """The carrier and the snapshot; None where the key is not one of ours."""
    if not key.startswith(MANIFESTS) or not key.endswith(_SUFFIX):
        return None
    return parse_snapshot_path(key[len(MANIFESTS) : -len(_SUFFIX)])


def data_prefix(carrier: str, snapshot: SnapshotId) -> str:
    return f"{DATA}{path(carrier)}/{snapshot}/"


def data_key(carrier: str, snapshot: SnapshotId, file: str) -> str:
    return f"{data_prefix(carrier, snapshot)}{file}"


def parse_data_key(key: str) -> tuple[str, SnapshotId, str] | None:
    """The carrier, the snapshot and the file; None where the key is not one of ours."""
    folder, _, file = key.removeprefix(DATA).rpartition("/")
    parsed = parse_snapshot_path(folder) if key.startswith(DATA) and file else None
    return parsed and (*parsed, file)


def carrier_dir(local_dir: Path, carrier: str) -> Path:
    return local_dir / path(carrier)


def snapshot_dir(local_dir: Path, carrier: str, snapshot: SnapshotId) -> Path:
    return carrier_dir(local_dir, carrier) / str(snapshot)


def parse_snapshot_path(relative: str) -> tuple[str, SnapshotId] | None:
    """The carrier and the snapshot of `<path>/<snapshot id>`; None where it is not ours."""
    folder, _, name = relative.rpartition("/")
    snapshot, carrier = SnapshotId.parse(name), unpath(folder)
    return None if snapshot is None or not carrier else (carrier, snapshot)


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
    return bytes.fromhex(escaped.replace("=", "")).decode("utf-8", "surrogatepass")
