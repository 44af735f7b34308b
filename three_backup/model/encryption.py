"""Encryption of what lies in S3, under keys that the bucket never sees: AES-256-GCM, in pieces.

Each file has a key of its own, derived from the key of the configuration and from its place, so
that none can take the place of another. A piece is told its number and whether it is the last, so
that none can be moved, left out or added. Its nonce is an HMAC of what it holds: the same file
gives the same bytes each time, which an upload that goes on compares, and other content never
shares a nonce with it.
"""

import hashlib
import hmac
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Self

from three_backup.errors import BackupError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE = 64 * 1024
"""Bytes that are encrypted at a time: what the smallest read of a file costs."""

OVERHEAD = 28
"""Bytes that each piece grows by: its nonce before it, its tag after it."""

_KEY_BYTES = 32
_NONCE = 12
_HIDDEN = 32
_LARGEST_PIECE = 16 * 1024 * 1024
_PURPOSE = b"three_backup encryption 1"
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")
_KEY_NAME = re.compile("[0-9a-f]{16}")


class Demand(StrEnum):
    """What a configuration asks for besides a key."""

    OPTIONAL = "optional"  # what cannot be encrypted goes as it is
    REQUIRED = "required"  # nothing goes to S3, and nothing is taken from there, unencrypted


class Purpose(StrEnum):
    """The use of a key; what was encrypted for one is nothing for another."""

    DATA = "data"
    MANIFEST = "manifest"
    WAL = "wal"
    NAME = "name"


class NoKeyError(BackupError):
    """What lies in S3 is encrypted with a key that the configuration does not have."""


class TamperedError(Exception):
    """Bytes that are not what was encrypted for this place, or not whole."""


@dataclass(frozen=True, slots=True)
class Span:
    """The pieces of a file that hold a range of it."""

    first: int  # the number of the first one
    start: int  # where they lie in S3
    length: int  # bytes in S3
    within: int  # where the range begins in them, once they are decrypted
    pieces: int  # how many the whole file has


@dataclass(frozen=True, slots=True)
class Encrypted:
    """How the data files of a snapshot are encrypted in S3."""

    key: str  # the name of the key
    piece: int = PIECE  # bytes of each piece but the last, before it is encrypted

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "piece": self.piece}

    @classmethod
    def from_json(cls, fields: Any) -> "Encrypted":
        """Raises ValueError, TypeError or KeyError."""
        key, piece = fields["key"], fields["piece"]
        if not isinstance(piece, int) or not 0 < piece <= _LARGEST_PIECE:
            raise ValueError(f"piece {piece!r}")
        if not is_name(key):
            raise ValueError(f"key {key!r}")
        return cls(key, piece)

    def stored(self, size: int) -> int:
        """Return how many bytes a file of this size has in S3."""
        return size + OVERHEAD * -(-size // self.piece)

    def span(self, offset: int, length: int, size: int) -> Span:
        """Return the pieces that hold a range of a file of this size; it may reach beyond it."""
        first, step = offset // self.piece, self.piece + OVERHEAD
        behind = max(first, -(-(offset + length) // self.piece))
        end = min(behind * step, self.stored(size))
        pieces = -(-size // self.piece)
        return Span(first, first * step, end - first * step, offset - first * self.piece, pieces)


@dataclass(frozen=True, slots=True)
class EncryptionKeys:
    """The keys of a host: the first one encrypts, and all decrypt."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the keys, one on a line, in hexadecimal. Raises ValueError."""
        words, made = text.split(), f"openssl rand -hex {_KEY_BYTES}"
        for number, word in enumerate(words, 1):
            if not _HEX.fullmatch(word) or len(word) != 2 * _KEY_BYTES:
                raise ValueError(
                    f"key {number} is not one of {_KEY_BYTES} bytes in hexadecimal; make it with: "
                    f"{made}"
                )
        if not words:
            raise ValueError(f"there is no key; make one with: {made}")
        return cls(tuple(map(bytes.fromhex, words)))

    @property
    def names(self) -> tuple[str, ...]:
        """What manifests call the keys; it tells nothing of them."""
        return tuple(map(_name, self.keys))

    @property
    def writes(self) -> Encrypted:
        """How what is written from now on is encrypted."""
        return Encrypted(_name(self.keys[0]))

    def hidden(self, word: str) -> tuple[str, ...]:
        """Return names that stand for a word and tell nothing of it, one by each key."""
        named = word.encode("utf-8", "surrogatepass")
        return tuple(
            hmac.digest(_of_names(key), named, "sha256").hex()[:_HIDDEN] for key in self.keys
        )

    def cipher(self, name: str, purpose: Purpose, place: str) -> "Cipher":
        """Return the cipher of one place. Raises KeyError if no key has the name."""
        key = dict(zip(self.names, self.keys, strict=True))[name]
        return Cipher(_derived(key, purpose, place))


class Cipher:
    """Encrypts and decrypts the pieces of one place. Threads may share it."""

    def __init__(self, derived: bytes) -> None:
        self._key, self._nonces = derived[:_KEY_BYTES], derived[_KEY_BYTES:]

    def seal(self, piece: bytes | memoryview, number: int, *, last: bool) -> bytes:
        about = _about(number, last=last)
        nonce = hmac.digest(self._nonces, about + piece, "sha256")[:_NONCE]
        return nonce + self._gcm.encrypt(nonce, bytes(piece), about)

    def open(self, sealed: bytes | memoryview, number: int, *, last: bool) -> bytes:
        """Return the piece. Raises TamperedError if it is not the one of this number."""
        from cryptography.exceptions import InvalidTag

        if len(sealed) < OVERHEAD:
            raise TamperedError
        try:
            # Debian 12's library takes no view of the rest, only bytes.
            rest = bytes(sealed[_NONCE:])
            return self._gcm.decrypt(sealed[:_NONCE], rest, _about(number, last=last))
        except InvalidTag as error:
            raise TamperedError from error

    def opened(self, sealed: bytes, piece: int, first: int, pieces: int) -> Iterator[bytes]:
        """Yield pieces that follow one another. Raises TamperedError.

        piece: bytes of each but the last, before it was encrypted. first: the number of the first
        one. pieces: how many the file has.
        """
        step, view = piece + OVERHEAD, memoryview(sealed)
        for number, start in enumerate(range(0, len(view), step), first):
            yield self.open(view[start : start + step], number, last=number == pieces - 1)

    @cached_property
    def _gcm(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key)


def cipher_of(
    keys: EncryptionKeys | None, name: str, purpose: Purpose, place: str, where: str
) -> Cipher:
    """Return the cipher of one place. where: names it in the error. Raises NoKeyError."""
    try:
        if keys is not None:
            return keys.cipher(name, purpose, place)
    except KeyError:
        pass
    raise NoKeyError(
        "encryption.no_key",
        f"{where}: it is encrypted with key {name}, which the configuration does not have",
        "add that key to encryption_key_file, below the others: the recovery sheet has it",
    )


def is_name(word: Any) -> bool:
    """Return whether it can be the name of a key, so that a person may be told it."""
    return isinstance(word, str) and _KEY_NAME.fullmatch(word) is not None


def _about(number: int, *, last: bool) -> bytes:
    return struct.pack(">Q?", number, last)


def _name(key: bytes) -> str:
    return hashlib.sha256(_PURPOSE + b" key " + key).hexdigest()[:16]


@lru_cache(maxsize=16)  # ten thousand objects may be named
def _of_names(key: bytes) -> bytes:
    return _derived(key, Purpose.NAME, "")[:_KEY_BYTES]


def _derived(key: bytes, purpose: Purpose, place: str) -> bytes:
    """Return the key of one place, and after it the key of its nonces."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    where = place.encode("utf-8", "surrogateescape")
    about = b"%b\0%b\0%b" % (_PURPOSE, purpose.encode(), where)
    return HKDF(SHA256(), 2 * _KEY_BYTES, None, about).derive(key)
