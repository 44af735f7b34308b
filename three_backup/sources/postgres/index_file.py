"""The index as a file: JSON in columns, compressed with zstd.

A column holds one field of every file, in one order, so that sixty thousand files compress and
load well. A stored index is not trusted: its size is bounded, and every number and path in it is
checked before it is used.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, starmap
from typing import Any

from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.index import File, Form, Frame, Group, Index, Tier
from three_backup.sources.postgres.pack import FRAME_SIZE, compress_file, decompress_file

VERSION = 1
_MOST_STORED = FRAME_SIZE + (1 << 20)
_PATH = re.compile(r"(?!(?:.*/)?\.\.?(?:/|$))[^/\0]+(?:/[^/\0]+)*", re.DOTALL)


def dump(index: Index) -> bytes:
    """Return the content of the file INDEX, compressed."""
    return compress_file(json.dumps(_to_json(index), separators=(",", ":")).encode())


def load(stored: bytes, where: str) -> Index:
    """Read an index; raise BackupError, which names where, if it cannot be trusted."""
    try:
        return _from_json(json.loads(decompress_file(stored)))
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        UsageError,
    ) as error:
        raise BackupError(
            "postgres.index",
            f"{where}: this is not an index of a snapshot ({type(error).__name__}: {error})",
            "restore another snapshot, or this one from its other copy",
        ) from error


def _to_json(index: Index) -> Mapping[str, Any]:
    files = index.files.values()
    frames = [frame for group in index.groups for frame in group.frames]
    return {
        "v": VERSION,
        "files": {
            "path": [file.path for file in files],
            "form": [file.form for file in files],
            "place": [file.place for file in files],
            "size": [file.size for file in files],
            "crc32c": [file.crc32c for file in files],
            "group": [file.group for file in files],
            "offset": [file.offset for file in files],
            "blocks": [file.blocks for file in files],
            "digest": [file.digest and file.digest.hex() for file in files],
        },
        "groups": {
            "place": [group.place for group in index.groups],
            "frames": [len(group.frames) for group in index.groups],
        },
        "frames": {
            "offset": [frame.offset for frame in frames],
            "stored": [frame.stored for frame in frames],
            "raw": [frame.raw for frame in frames],
            "sha256": [frame.sha256.hex() for frame in frames],
        },
        "objects": {str(object_id): paths for object_id, paths in index.objects.items()},
        "directories": index.directories,
        "tablespaces": index.tablespaces,
    }


def _from_json(fields: Mapping[str, Any]) -> Index:
    if fields["v"] != VERSION:
        raise ValueError(f"it has version {fields['v']!r}; read it with a newer three_backup")
    groups = tuple(_groups(fields["groups"], _frames(fields["frames"])))
    lengths = [sum(frame.raw for frame in group.frames) for group in groups]
    files = {}
    for file in _files(fields["files"]):
        _check_stored(file, groups, lengths)
        if file.path in files:
            raise ValueError(f"{file.path!r} is in it twice")
        files[file.path] = file
    return Index(
        files,
        groups,
        {
            ObjectId.parse(object_id): tuple(map(_path, paths))
            for object_id, paths in fields["objects"].items()
        },
        tuple(map(_path, fields["directories"])),
        {int(oid): str(location) for oid, location in fields["tablespaces"].items()},
    )


def _files(columns: Mapping[str, Any]) -> Iterator[File]:
    fields = zip(
        map(_path, columns["path"]),
        map(Form, columns["form"]),
        map(Tier, columns["place"]),
        map(_number, columns["size"]),
        map(_number, columns["crc32c"]),
        map(_number_or_none, columns["group"]),
        map(_number, columns["offset"]),
        map(_number_or_none, columns["blocks"]),
        map(_bytes_or_none, columns["digest"]),
        strict=True,
    )
    return starmap(File, fields)


def _frames(columns: Mapping[str, Any]) -> Iterator[Frame]:
    frames = zip(
        map(_number, columns["offset"]),
        map(_number, columns["stored"]),
        map(_number, columns["raw"]),
        map(bytes.fromhex, columns["sha256"]),
        strict=True,
    )
    for offset, stored, raw, sha256 in frames:
        if raw > FRAME_SIZE or stored > _MOST_STORED:
            raise ValueError(f"a frame of {raw} bytes is too large")
        yield Frame(offset, stored, raw, sha256)


def _groups(columns: Mapping[str, Any], frames: Iterator[Frame]) -> Iterator[Group]:
    for place, count in zip(columns["place"], map(_number, columns["frames"]), strict=True):
        found = tuple(islice(frames, count))
        if len(found) != count:
            raise ValueError("it has fewer frames than its groups say")
        yield Group(Tier(place), found)


def _check_stored(file: File, groups: Sequence[Group], lengths: Sequence[int]) -> None:
    """Raise ValueError unless the file's stored bytes lie in the frames of its group."""
    if file.group is None:
        return
    if file.group >= len(groups) or groups[file.group].place is not file.place:
        raise ValueError(f"{file.path!r} is in a group that is none of its place")
    if file.offset + file.size > lengths[file.group]:
        raise ValueError(f"{file.path!r} ends behind its group")


def _path(text: object) -> str:
    """Return text if it is a relative path that stays below the folder it is laid out in."""
    if not isinstance(text, str) or not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a path of a data directory")
    return text


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a size or a number of something")
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _bytes_or_none(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)
