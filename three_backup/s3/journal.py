"""The journal of an upload: JSON lines on disk, one journal for every file being uploaded.

A line is added after each event, so a SIGKILL or a power cut leaves at worst a torn last line,
which is ignored. What nobody else knows (the id of an upload) is fsynced; what the server can tell
again is only written. A journal says where to look; the server says what is true.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from three_backup.host.durable import sync_directory
from three_backup.s3.volumes import volume_key

SUFFIX = ".journal"
"""How the name of a journal ends."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The target of an upload and how it is cut; fixed while the journal exists."""

    bucket: str
    prefix: str
    key: str  # relative to the prefix
    part_size: int  # bytes
    parts: int  # per volume
    whole: bool = False  # the key keeps its name: it has one volume only

    @property
    def volume_size(self) -> int:
        return self.part_size * self.parts

    def volume(self, number: int) -> str:
        """Return the key of a volume; number counts from 1."""
        return self.key if self.whole and number == 1 else volume_key(self.key, number)


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that the server acknowledged."""

    size: int  # bytes
    md5: str  # hex, of what was sent; empty if its SHA-256 is known
    etag: str  # the server's answer
    sha256: str = ""  # hex, of what was sent; empty if its MD5 is known


@dataclass(slots=True)
class VolumeProgress:
    """The progress of one volume."""

    upload_id: str | None = None  # None for a volume stored by one request
    parts: dict[int, SentPart] = field(default_factory=dict)
    complete: bool = False  # the key was made
    opening: bool = False  # an upload may have begun whose id never reached us

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload whose journal still exists."""

    journal: Path
    plan: Plan
    newest_write: datetime  # aware UTC


class Journal:
    """A journal open for writing; a context manager that closes it."""

    def __init__(self, path: Path, plan: Plan) -> None:
        """Continue the journal of this key at path, or begin a new one.

        An upload that has begun keeps its part size. A journal of another bucket, prefix or key is
        put aside: nothing else knows of the upload there.
        """
        _change_places(path, plan)
        found = read(path)
        if found and found.volumes:
            self.plan, self.volumes = found.plan, found.volumes
        else:
            self.plan, self.volumes = plan, {}
        self._file = _rewritten(path, _lines(self.plan, self.volumes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()

    def opening(self, number: int) -> None:
        """Note that an upload is about to begin.

        Begin it only after this has returned: the answer with its id may never reach us.
        """
        self.volumes[number] = VolumeProgress(opening=True)
        self._add({"volume": number, "opening": True})
        self.sync()

    def opened(self, number: int, upload_id: str) -> None:
        """Note the id of an upload.

        Send parts only after this has returned: from then on a later run finds the upload.
        """
        self.volumes[number] = VolumeProgress(upload_id)
        self._add({"volume": number, "upload": upload_id})
        self.sync()

    def sent(self, number: int, part: int, sent: SentPart) -> None:
        self.volumes.setdefault(number, VolumeProgress()).parts[part] = sent
        self._add(_part_line(number, part, sent))

    def completed(self, number: int) -> None:
        self.volumes[number].complete = True
        self._add({"volume": number, "complete": True})
        self.sync()

    def dropped(self, number: int) -> None:
        """Note that the volume will be sent anew."""
        self.volumes.pop(number, None)
        self._add({"volume": number, "dropped": True})
        self.sync()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def _add(self, line: Mapping[str, Any]) -> None:
        self._file.write(_encoded(line))


@dataclass(frozen=True, slots=True)
class JournalContent:
    """The content of a journal."""

    plan: Plan
    volumes: dict[int, VolumeProgress]  # by number


def read(path: Path) -> JournalContent | None:
    """Read a journal; None if there is none, or none that this version can read."""
    try:
        lines = _whole_lines(path.read_bytes())
        return _replayed(next(lines), lines)
    except (FileNotFoundError, StopIteration, ValueError, KeyError, TypeError):
        return None


def begun(directory: Path) -> list[Begun]:
    """Return the uploads whose journals lie below directory, the longest untouched first."""
    found = []
    for path in directory.rglob(f"*{SUFFIX}"):
        written = read(path)
        if written is not None:
            newest_write = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            found.append(Begun(path, written.plan, newest_write))
    return sorted(found, key=lambda upload: upload.newest_write)


def forget(journal: Path) -> None:
    """Remove the journal. Call it once the manifest that names the file is written.

    Until then only the journal says that the volumes are complete. If a run is killed between the
    last volume and the manifest, the next run need not send anything again.
    """
    journal.unlink(missing_ok=True)


def _change_places(path: Path, plan: Plan) -> None:
    """Move the journal of the plan's key to path, if it exists, and any other one aside."""
    found = read(path)
    if found is not None and _target(found.plan) != _target(plan):
        if found.volumes:
            path.rename(_aside(path, found.plan))
        else:
            path.unlink()
    with suppress(FileNotFoundError):
        _aside(path, plan).rename(path)


def _target(plan: Plan) -> tuple[str, str, str]:
    return plan.bucket, plan.prefix, plan.key


def _aside(path: Path, plan: Plan) -> Path:
    digest = hashlib.sha256("/".join(_target(plan)).encode()).hexdigest()
    return path.with_name(f"{path.stem}.{digest[:16]}{SUFFIX}")


def _rewritten(path: Path, lines: Iterable[Mapping[str, Any]]) -> IO[bytes]:
    """Replace the journal by these lines, whole or not at all; return it open for more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    file = new.open("wb", buffering=0)  # unbuffered: written lines survive our death
    try:
        file.write(b"".join(map(_encoded, lines)))
        os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
    except OSError:
        file.close()
        raise
    return file


def _lines(plan: Plan, volumes: Mapping[int, VolumeProgress]) -> Iterator[dict[str, Any]]:
    yield {"v": _VERSION, **asdict(plan)}
    for number, volume in volumes.items():
        if volume.opening:
            yield {"volume": number, "opening": True}
        if volume.upload_id is not None:
            yield {"volume": number, "upload": volume.upload_id}
        for part, sent in volume.parts.items():
            yield _part_line(number, part, sent)
        if volume.complete:
            yield {"volume": number, "complete": True}


def _part_line(number: int, part: int, sent: SentPart) -> dict[str, Any]:
    return {"volume": number, "part": part, **asdict(sent)}


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _whole_lines(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines before the first one that a power cut tore or left as zeros."""
    for line in body.splitlines(keepends=True):
        try:
            decoded = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            return
        if not isinstance(decoded, dict):
            return
        yield decoded


def _replayed(header: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> JournalContent:
    if header["v"] != _VERSION:
        raise ValueError(header["v"])
    plan = Plan(
        str(header["bucket"]),
        str(header["prefix"]),
        str(header["key"]),
        int(header["part_size"]),
        int(header["parts"]),
        bool(header.get("whole")),
    )
    volumes: dict[int, VolumeProgress] = {}
    for line in lines:
        _replay(volumes, line)
    return JournalContent(plan, volumes)


def _replay(volumes: dict[int, VolumeProgress], line: Mapping[str, Any]) -> None:
    number = int(line["volume"])
    if "opening" in line:
        volumes[number] = VolumeProgress(opening=True)
    elif "upload" in line:
        volumes[number] = VolumeProgress(str(line["upload"]))
    elif "part" in line:
        hashes = str(line["md5"]), str(line["etag"]), str(line.get("sha256", ""))
        sent = SentPart(int(line["size"]), *hashes)
        volumes.setdefault(number, VolumeProgress()).parts[int(line["part"])] = sent
    elif "complete" in line:
        volumes[number].complete = True
    else:
        volumes.pop(number, None)
