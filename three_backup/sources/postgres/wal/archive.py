"""The archive of a cluster's WAL in S3: `wal/<carrier>/<timeline>/<start>-<end>.zst`.

Beside the pieces lie history files, `<timeline>.history`, and `reached.json`, which says up to
when the archive is known to be complete: on an idle server no new piece would tell.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.encryption import TamperedError
from three_backup.model.objects import Carrier
from three_backup.model.signing import DOCUMENT, FRAMES, LINES, Form, Keyring
from three_backup.s3.failures import MissingError
from three_backup.s3.listing import ListedKey
from three_backup.s3.store import Store
from three_backup.s3.whole import first_whole
from three_backup.sources.postgres.wal.contents import Contents as Contents
from three_backup.sources.postgres.wal.contents import Reached as Reached
from three_backup.sources.postgres.wal.names import (
    LARGEST_PIECE,
    Piece,
    common_prefix,
    history_name,
    timeline_of_history,
)
from three_backup.sources.postgres.wal.sealing import opened, sealed

if TYPE_CHECKING:
    import zstandard

_T = TypeVar("_T")
_REACHED = "reached.json"
_CLUSTERS = "postgres/cluster"


class UnsignedError(BackupError):
    """What lies there was not signed by the keys that count."""


class WalArchive:
    """The archived WAL of one cluster. Threads may share it."""

    def __init__(
        self, store: Store, carrier: Carrier, level: int = 1, signs_with: Keyring | None = None
    ) -> None:
        """level: of zstd, for what is put. signs_with: the keys, where the store reads what these
        did not sign, too.
        """
        self._signs_with = signs_with or store.storage.manifest_key
        self.store = store
        self.carrier = carrier
        self._folder = f"{layout.WAL}/{layout.path(carrier)}/"
        self._level = level

    @property
    def place(self) -> str:
        """The s3:// address of the archive, for a person."""
        return self.store.place(self._folder)

    def contents(self) -> Contents:
        """Return all that lies here: a request per thousand keys, and one per history file."""
        length, listed = len(self._folder), list(self.store.keys(self._folder))
        names = [found.key[length:] for found in listed]
        pieces = (
            Piece.parse(name, found.size, found.modified)
            for name, found in zip(names, listed, strict=True)
        )
        histories = (timeline for name in names if (timeline := timeline_of_history(name)))
        return Contents(
            sorted(piece for piece in pieces if piece is not None),
            {timeline: self.history(timeline) for timeline in histories},
            self.reached() if _REACHED in names else None,
        )

    def pieces(self, timeline: int | None = None, start: int = 0, end: int = 0) -> list[Piece]:
        """Return the pieces, sorted: all; or one timeline's; or only those from start to end.

        A request per thousand keys. With an end, pieces just outside of the range may come, too.
        """
        prefix = "" if timeline is None else f"{timeline:08X}/"
        if timeline is not None and end:
            prefix += common_prefix(start, end)
        return self._parsed(self.store.keys(self._folder + prefix))

    def pieces_since(self, timeline: int, position: int) -> list[Piece]:
        """Return the timeline's pieces that begin at the position or after it, sorted.

        However many lie before, a request per thousand of these, where the server can do that.
        """
        prefix = f"{self._folder}{timeline:08X}/"
        found = self._parsed(self.store.keys(prefix, f"{prefix}{position:016X}-"))
        return [piece for piece in found if piece.start >= position]

    def put(self, piece: Piece, content: bytes | memoryview) -> int:
        """Store a piece; return its bytes in S3. content: WAL, from its start to its end."""
        if len(content) != piece.size:
            raise ValueError(f"{piece.key} holds {piece.size} bytes, not {len(content)}")
        body = _compressor(self._level).compress(content)
        place = self.store.signed_as(self.key_of(piece))
        return self._write(piece.key, sealed(body, self.store.storage, place), FRAMES)

    def read(self, piece: Piece) -> bytes:
        """Return the WAL of a piece, checked. Raises MissingError, or BackupError if damaged."""
        return self._first_whole(lambda archive: archive.read_here(piece), len)

    def read_here(self, piece: Piece) -> bytes:
        """Return the WAL of a piece as read does, but never out of a spare of the store."""
        import zstandard

        key = self.key_of(piece)
        body = FRAMES.plain(self._read(piece.key, FRAMES))
        place, where = self.store.signed_as(key), self.store.place(key)
        try:
            body = opened(body, self.store.storage, place, where)
        except TamperedError as error:
            raise self._damaged(piece, "it cannot be decrypted") from error
        try:
            content = zstandard.ZstdDecompressor().decompress(body, LARGEST_PIECE)
        except zstandard.ZstdError as error:
            raise self._damaged(piece, str(error)) from error
        if len(content) != piece.size:
            raise self._damaged(piece, f"it holds {len(content)} bytes")
        return content

    def histories(self) -> Mapping[int, bytes]:
        """Return all history files, by timeline."""
        names = self.store.names_in(self._folder)
        found = (timeline for name in names if (timeline := timeline_of_history(name)))
        return {timeline: self.history(timeline) for timeline in found}

    def history(self, timeline: int) -> bytes:
        """Return a history file. Raises MissingError."""
        name = history_name(timeline)
        return LINES.plain(self._first_whole(lambda archive: archive._read(name, LINES), len))

    def put_history(self, timeline: int, content: bytes) -> None:
        self._write(history_name(timeline), content, LINES)

    def add_history(self, timeline: int, content: bytes) -> None:
        """Store a history file unless it is there. Raises BackupError if another one is."""
        try:
            stored = self.history(timeline)
        except MissingError:
            self.put_history(timeline, content)
            return
        if stored != content:
            raise BackupError(
                "postgres.other_history",
                f"{self.carrier}: the archive has another timeline {timeline} "
                f"({history_name(timeline)} differs)",
                "recover with restore_command = 'tb-wal fetch %f %p', so that the server takes a "
                "number that is free, or archive it below another s3_prefix",
            )

    def reached(self) -> Reached | None:
        """Return how far the archive is known to be complete; None if nobody has noted it.

        What is not signed, where signatures count, is nobody's note: the next tb-wal writes it.
        """
        return self._first_whole(lambda archive: archive._noted(), lambda _: 0)

    def _noted(self) -> Reached | None:
        try:
            fields = json.loads(self._read(_REACHED, DOCUMENT))
        except (MissingError, UnsignedError):
            return None
        except ValueError as error:
            raise self._unreadable() from error
        try:
            fields["at"] = datetime.fromisoformat(fields["at"]).astimezone(UTC)
            return Reached(**{name: fields[name] for name in Reached.__slots__})
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable() from error

    def note_reached(self, reached: Reached) -> None:
        fields = {**asdict(reached), "at": reached.at.astimezone(UTC).isoformat()}
        self._write(_REACHED, json.dumps(fields).encode() + b"\n", DOCUMENT)

    def note_further(self, before: Reached | None, now: Reached) -> None:
        """Note how far the archive is complete unless it was further before."""
        if before is None or (before.timeline, before.lsn) <= (now.timeline, now.lsn):
            self.note_reached(now)

    def delete(self, pieces: Iterable[Piece], histories: Iterable[int] = ()) -> None:
        """Delete pieces, then history files."""
        self.store.delete(
            [self.key_of(piece) for piece in pieces]
            + [self.key_of_history(timeline) for timeline in histories]
        )

    def _first_whole(self, read: Callable[["WalArchive"], _T], size: Callable[[_T], int]) -> _T:
        """Read out of this archive, or out of that in the first spare that has it whole."""

        def read_in(store: Store) -> _T:
            return read(self if store is self.store else WalArchive(store, self.carrier))

        return first_whole(self.store, self._folder, read_in, size)

    def _parsed(self, keys: Iterable[ListedKey]) -> list[Piece]:
        length = len(self._folder)
        found = (Piece.parse(key.key[length:], key.size, key.modified) for key in keys)
        return sorted(piece for piece in found if piece is not None)

    def key_of(self, piece: Piece) -> str:
        """Return the piece's key, relative to the prefix."""
        return self._folder + piece.key

    def key_of_history(self, timeline: int) -> str:
        """Return the key of a history file, relative to the prefix."""
        return self._folder + history_name(timeline)

    def sign(self) -> int:
        """Sign what is whole but bears no signature of ours; return how many keys that were.

        The archive reads what is unsigned. Raises BackupError for what is damaged.
        """
        contents, signed = self.contents(), 0
        for piece in contents.pieces:
            self.read(piece)
            signed += self._sign(piece.key, FRAMES)
        for timeline in contents.histories:
            signed += self._sign(history_name(timeline), LINES)
        return signed + (self._sign(_REACHED, DOCUMENT) if contents.reached else 0)

    def _sign(self, name: str, form: Form) -> bool:
        key, body = self._folder + name, self.store.read(self._folder + name)
        keyring = self._signs_with
        if keyring is None or keyring.is_genuine(body, self.store.signed_as(key), form):
            return False
        self._write(name, body, form)
        return True

    def _write(self, name: str, body: bytes, form: Form) -> int:
        """Sign and store a body; return its bytes in S3."""
        key = self._folder + name
        if self._signs_with is not None:
            body = self._signs_with.signed(body, self.store.signed_as(key), form)
        self.store.write(key, body)
        return len(body)

    def _read(self, name: str, form: Form) -> bytes:
        key, keyring = self._folder + name, self.store.storage.manifest_key
        body = self.store.read(key)
        if keyring is None or keyring.is_genuine(body, self.store.signed_as(key), form):
            return body
        raise UnsignedError(
            "postgres.wal_unsigned",
            f"{self.store.place(key)}: manifest_key did not sign it",
            "find out who writes to the bucket; tb-verify --sign adopts what is yours, and "
            "--unsigned restores the rest",
        )

    def _damaged(self, piece: Piece, why: str) -> BackupError:
        return BackupError(
            "postgres.wal_damaged",
            f"{self.store.place(self._folder + piece.key)}: this piece of WAL is damaged ({why})",
            "restore to a moment before it, or from a snapshot after it",
        )

    def _unreadable(self) -> BackupError:
        return BackupError(
            "postgres.wal_reached",
            f"{self.store.place(self._folder + _REACHED)}: this does not say how far WAL goes",
            "delete the key; the next tb-wal writes it anew",
        )


def archived_clusters(store: Store) -> list[Carrier]:
    """Return the carriers whose WAL lies in the store."""
    folder = f"{layout.WAL}/{layout.path(_CLUSTERS)}/"
    return sorted(Carrier(f"{_CLUSTERS}/{layout.name(name)}") for name in store.folders(folder))


def _compressor(level: int) -> "zstandard.ZstdCompressor":
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
