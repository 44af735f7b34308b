"""The snapshots of this host: `<local_dir>/<path>/<snapshot id>/manifest.json` and data files."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.host.durable import sync_directory, write_durably
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId

MANIFEST = "manifest.json"
_JOURNAL = "journal"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNFINISHED = ".unfinished-"


class LocalStore:
    """A folder of snapshots. A snapshot exists if its manifest exists.

    The caller holds the carrier's lock when it adds or removes snapshots.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def snapshots(self, carrier: Carrier) -> list[SnapshotId]:
        """Return the carrier's snapshots, oldest first."""
        try:
            entries = list(os.scandir(self._folder(carrier)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (_snapshot_in(entry) for entry in entries if entry.is_dir())
        return sorted(
            (snapshot for snapshot in found if snapshot), key=lambda snapshot: snapshot.time
        )

    def manifest(self, carrier: Carrier, snapshot: SnapshotId) -> Manifest:
        path = self.directory(carrier, snapshot) / MANIFEST
        try:
            return Manifest.from_json(path.read_bytes(), str(path))
        except FileNotFoundError as error:
            raise BackupError(
                "local.missing", f"{carrier}: this host has no snapshot {snapshot}"
            ) from error

    def directory(self, carrier: Carrier, snapshot: SnapshotId) -> Path:
        return self._folder(carrier) / str(snapshot)

    def journals(self, carrier: Carrier, snapshot: SnapshotId | None = None) -> Path:
        """Return the folder of the journals of one snapshot, or of all the carrier's.

        They tell what is being uploaded to S3 or removed there.
        """
        folder = self.root / _JOURNAL / layout.path(carrier)
        return folder if snapshot is None else folder / str(snapshot)

    @contextmanager
    def begin(
        self, carrier: Carrier, snapshot: SnapshotId, *, remembered: bool = False
    ) -> Iterator[Path]:
        """Yield an empty folder to fill with data files; remove it unless it was committed.

        remembered: after a failure it stays for unfinished() to find.
        """
        self.sweep(carrier)
        folder = self._folder(carrier) / f"{_UNFINISHED}{snapshot}"
        folder.mkdir(parents=True, mode=0o700)
        sync_directory(folder.parent)  # if we are killed, unfinished() must find it
        failed = True
        try:
            yield folder
            failed = False
        except OSError as error:
            if error.errno in _FULL and error.filename is None:
                error.filename = str(self.root)  # a write does not tell where there is no room
            raise
        finally:
            if not (failed and remembered):
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, unfinished: Path, manifest: Manifest) -> None:
        """Turn the folder into a snapshot: write the manifest last, then rename the folder."""
        write_durably(unfinished / MANIFEST, manifest.to_json())
        sync_directory(unfinished)
        unfinished.rename(self.directory(manifest.carrier, manifest.snapshot))
        sync_directory(unfinished.parent)

    def remove(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        """Remove a snapshot, its manifest first: a half-removed snapshot is none."""
        folder = self.directory(carrier, snapshot)
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_directory(folder)
        shutil.rmtree(folder)
        _remove_empty_parents(folder.parent, self.root)

    def unfinished(self, carrier: Carrier) -> list[SnapshotId]:
        """Return the snapshots that earlier runs began and did not commit."""
        folders = self._folder(carrier).glob(f"{_UNFINISHED}*")
        found = (SnapshotId.parse(folder.name.removeprefix(_UNFINISHED)) for folder in folders)
        return [snapshot for snapshot in found if snapshot]

    def sweep(self, carrier: Carrier) -> None:
        """Remove the rest of snapshots that killed runs did not finish, or half removed."""
        folder = self._folder(carrier)
        if not folder.is_dir():
            return
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and _is_leftover(entry):
                shutil.rmtree(entry.path)

    def carriers(self, source_type: str) -> Iterator[Carrier]:
        """Yield the carriers of a source that have snapshots here."""
        return _carriers(self.root, source_type)

    def begun(self, source_type: str) -> Iterator[Carrier]:
        """Yield the carriers of a source with something begun in S3 and not finished."""
        return _carriers(self.root / _JOURNAL, source_type)

    def _folder(self, carrier: Carrier) -> Path:
        return self.root / layout.path(carrier)


def _carriers(root: Path, source_type: str) -> Iterator[Carrier]:
    for folder, names, _ in os.walk(root / layout.path(source_type)):
        if any(SnapshotId.parse(name) for name in names):
            names.clear()
            yield Carrier(layout.name(os.path.relpath(folder, root)))


def _snapshot_in(entry: os.DirEntry[str]) -> SnapshotId | None:
    snapshot = SnapshotId.parse(entry.name)
    return snapshot if snapshot and Path(entry.path, MANIFEST).is_file() else None


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(_UNFINISHED):
        return True
    return SnapshotId.parse(entry.name) is not None and _snapshot_in(entry) is None


def _remove_empty_parents(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
