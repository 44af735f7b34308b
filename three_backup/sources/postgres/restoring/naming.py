"""Names for what belongs to a renamed table. Names have at most 63 bytes."""

import hashlib
from collections.abc import Collection

from three_backup.model.objects import AS_BYTES

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
    if len(name.encode(*AS_BYTES)) <= LONGEST:
        return name
    return f"{_beginning(name)}_{_hash(name)}"


def free(name: str, taken: Collection[str]) -> str:
    """Return the name, or one made from it that is not taken."""
    candidate, attempt = name, name
    while candidate in taken:
        attempt += "+"
        candidate = f"{_beginning(name)}_{_hash(attempt)}"
    return candidate


def _beginning(name: str) -> str:
    """Return as many characters as fit before a hash."""
    while len(name.encode(*AS_BYTES)) > LONGEST - _HASH_LENGTH - 1:
        name = name[:-1]
    return name


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(*AS_BYTES)).hexdigest()[:_HASH_LENGTH]
