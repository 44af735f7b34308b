"""The hashes of a pack, which are those of its frames."""

from collections.abc import Sequence

from three_backup.errors import BackupError
from three_backup.model.hashed_stream import HashedPiece
from three_backup.sources.jobs import SnapshotFiles
from three_backup.sources.postgres import index_file
from three_backup.sources.postgres.index import INDEX, Frame


def hashes(files: SnapshotFiles, name: str) -> Sequence[HashedPiece]:
    """Return the frames of a pack. Raises BackupError unless they make up all of it."""
    index = index_file.load(files.read(INDEX), f"{files.manifest.snapshot}")
    packed = (group for group in index.groups if group.place.pack == name)
    frames = sorted((frame for group in packed for frame in group.frames), key=_offset)
    end = 0
    for frame in frames:
        if frame.offset != end:
            raise _incomplete(files, name, end)
        end += frame.stored
    stored = files.manifest.file(name)
    if stored is None or stored.size != end:
        raise _incomplete(files, name, end)
    return [HashedPiece(frame.stored, frame.sha256.hex()) for frame in frames]


def _offset(frame: Frame) -> int:
    return frame.offset


def _incomplete(files: SnapshotFiles, name: str, end: int) -> BackupError:
    manifest = files.manifest
    return BackupError(
        "postgres.index",
        f"{manifest.carrier}: snapshot {manifest.snapshot}: its index knows no hash of {name} "
        f"from byte {end} on",
        "restore another snapshot; the next base replaces it",
    )
