"""Signatures of what lies in S3: an HMAC-SHA-256 under a key that the bucket never sees.

A signature stands at the end of what is signed, and counts for one place alone: prefix and key are
hashed with it, so that nothing can take the place of another. A document is a JSON object on one
line, and its last field is the signature. That of zstd's frames is a frame that readers skip, that
of lines a comment.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Self

_LEAST_BYTES = 32
_PURPOSE = b"three_backup document 1"
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Form:
    """How a signature is spelt at the end of a body."""

    before: bytes
    after: bytes
    end: bytes = b""  # what the body ends with in place of the signature

    @property
    def pattern(self) -> re.Pattern[bytes]:
        return _pattern(self.before, self.after)

    def plain(self, body: bytes) -> bytes:
        """Return the body without its signature."""
        return self.pattern.sub(lambda _: self.end, body)


@cache
def _pattern(before: bytes, after: bytes) -> re.Pattern[bytes]:
    told = rb"[0-9a-f]{16}:([0-9a-f]{64})"
    return re.compile(re.escape(before) + told + re.escape(after) + rb"\Z")


_LENGTH = 16 + 1 + 64
DOCUMENT = Form(b',"signature":"', b'"}\n', b"}\n")
FRAMES = Form(b"\x54\x2a\x4d\x18" + _LENGTH.to_bytes(4, "little"), b"")
LINES = Form(b"# signature ", b"\n")


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
        """The names of the keys in signatures."""
        return tuple(map(_name, self.keys))

    def signed(self, body: bytes, place: str, form: "Form" = DOCUMENT) -> bytes:
        """Return the body with a signature in place of any it has."""
        core, key = form.plain(body), self.keys[0]
        told = b"%b:%b" % (_name(key).encode(), _mac(key, core, place).encode())
        return core.removesuffix(form.end) + form.before + told + form.after

    def is_genuine(self, body: bytes, place: str, form: "Form" = DOCUMENT) -> bool:
        """Return whether one of the keys signed the body for this place."""
        found = form.pattern.search(body)
        if found is None:
            return False
        core, told = form.plain(body), found[1].decode()
        return any(hmac.compare_digest(_mac(key, core, place), told) for key in self.keys)


def plain(document: bytes) -> bytes:
    """Return the document without its signature."""
    return DOCUMENT.plain(document)


def _name(key: bytes) -> str:
    return hashlib.sha256(_PURPOSE + b" key " + key).hexdigest()[:16]


def _mac(key: bytes, core: bytes, place: str) -> str:
    where = place.encode("utf-8", "surrogateescape")
    message = b"%b\0%d\0%b%b" % (_PURPOSE, len(where), where, core)
    return hmac.new(key, message, hashlib.sha256).hexdigest()
