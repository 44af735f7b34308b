"""Signatures of what lies in S3: an HMAC-SHA-256 under a key that the bucket never sees.

A signature stands at the end of a document, a JSON object on one line, and counts for one place
alone: prefix and key are hashed with it, so that no document can take the place of another.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Self

_LEAST_BYTES = 32
_SIGNATURE = b',"signature":"%s:%s"}\n'
_SIGNED = re.compile(rb',"signature":"([0-9a-f]{16}):([0-9a-f]{64})"\}\n\Z')
_END = b"}\n"
_PURPOSE = b"three_backup document 1"
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a host: the first one signs, and what any of them signed is genuine."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the keys, one on a line, in hexadecimal. Raises ValueError."""
        words = text.split()
        for number, word in enumerate(words, 1):
            if not _HEX.fullmatch(word) or len(word) < 2 * _LEAST_BYTES:
                raise ValueError(
                    f"key {number} is not one of {_LEAST_BYTES} bytes in hexadecimal; make it "
                    f"with: openssl rand -hex {_LEAST_BYTES}"
                )
        if not words:
            raise ValueError(f"there is no key; make one with: openssl rand -hex {_LEAST_BYTES}")
        return cls(tuple(map(bytes.fromhex, words)))

    @property
    def id(self) -> str:
        """A name for all keys together, which tells nothing of them."""
        return hashlib.sha256(b"".join(name.encode() for name in self.names)).hexdigest()[:16]

    @property
    def names(self) -> tuple[str, ...]:
        """What signatures call the keys."""
        return tuple(map(_name, self.keys))

    def signed(self, document: bytes, place: str) -> bytes:
        """Return the document with a signature in place of any it has."""
        core, key = plain(document), self.keys[0]
        signature = _SIGNATURE % (_name(key).encode(), _mac(key, core, place).encode())
        return core.removesuffix(_END) + signature

    def is_genuine(self, document: bytes, place: str) -> bool:
        """Return whether one of the keys signed the document for this place."""
        found = _SIGNED.search(document)
        if found is None:
            return False
        core, told = plain(document), found[2].decode()
        return any(hmac.compare_digest(_mac(key, core, place), told) for key in self.keys)


def plain(document: bytes) -> bytes:
    """Return the document without its signature."""
    return _SIGNED.sub(_END, document)


def _name(key: bytes) -> str:
    return hashlib.sha256(_PURPOSE + b" key " + key).hexdigest()[:16]


def _mac(key: bytes, core: bytes, place: str) -> str:
    where = place.encode("utf-8", "surrogateescape")
    message = b"%b\0%d\0%b%b" % (_PURPOSE, len(where), where, core)
    return hmac.new(key, message, hashlib.sha256).hexdigest()
