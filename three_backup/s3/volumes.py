"""How a file becomes keys: numbered volumes of equal size, the last one shorter."""

import re

PART_SIZE = 16 * 1024 * 1024
"""Bytes of a part, the unit of sending and resuming; every server takes 5 MiB and more."""

PARTS = 1000
"""Parts of a volume: as many as the strictest servers (Swift, hence Selectel) allow."""


def volume_key(key: str, number: int) -> str:
    """Return the key of a volume; number counts from 1."""
    return f"{key}.{number:05d}"


def is_volume_of(key: str, candidate: str) -> bool:
    return re.fullmatch(rf"{re.escape(key)}\.\d{{5}}", candidate) is not None
