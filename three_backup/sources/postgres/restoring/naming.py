"""Names for what belongs to a renamed table. Names have at most 63 bytes."""

import hashlib
from collections.abc import Collection

LONGEST = 63
_HASH_LENGTH = 8


def follow(name: str, old: str, new: str) -> str:
    """Return the new name of an index, sequence or partition of a table renamed to new."""
    if old == new:
        return name
    if name.startswith(old):
        return shorten(new + name[len(old) :])
    return shorten(f"{new}_{name}")


def shorten(name: str) -> str:
    """Return the name, or as much of it as fits with a hash of the whole name at the end."""
    if len(name.encode()) <= LONGEST:
        return name
    kept = name.encode()[: LONGEST - _HASH_LENGTH - 1].decode(errors="ignore")
    return f"{kept}_{_hash(name)}"


def free(name: str, taken: Collection[str]) -> str:
    """Return the name, or one made from it that is not taken."""
    candidate, attempt = name, name
    while candidate in taken:
        attempt += "+"
        kept = name.encode()[: LONGEST - _HASH_LENGTH - 1].decode(errors="ignore")
        candidate = f"{kept}_{_hash(attempt)}"
    return candidate


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
