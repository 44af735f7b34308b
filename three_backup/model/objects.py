"""Objects: what is backed up, their ids, and the globs that select them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from typing import Self

from three_backup.errors import UsageError, readable

LEVELS = 5
AS_BYTES = ("utf-8", "surrogateescape")
"""How a name becomes bytes, and bytes become a name: those that are not UTF-8 are kept."""

_LEVELS_OF_SERVER = 3
_RESERVED = re.compile(r"[/%*?\[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """One table, view, container or volume: `type/subtype/level1/level2/level3`."""

    type: str
    subtype: str
    # The names as the source spells them; bytes that are not UTF-8 by `surrogateescape`:
    level1: str  # LXD pool, PostgreSQL database, ClickHouse cluster
    level2: str  # LXD project, PostgreSQL schema, ClickHouse database
    level3: str  # name

    def __str__(self) -> str:
        levels = (self.level1, self.level2, self.level3)
        return "/".join((self.type, self.subtype, *map(escape, levels)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an id. Raises UsageError if text is not one."""
        parts = text.split("/")
        try:
            if len(parts) == LEVELS and parts[0] and parts[1]:
                return cls(parts[0], parts[1], *map(unescape, parts[2:]))
        except UnicodeEncodeError:  # half of a pair of surrogates, which no bytes are
            pass
        raise UsageError(
            "id.malformed",
            f"{text!r} is not an object id",
            "write type/subtype/level1/level2/level3 as tb-discover prints it",
        )


class Carrier(str):
    """The name of what holds the snapshots of objects: an object itself, or a server.

    An object carries its own snapshots under its id; `postgres/cluster/7` carries those of all
    tables and views of that server.
    """

    __slots__ = ()

    @property
    def type(self) -> str:
        """The type of the source."""
        return self.partition("/")[0]

    @property
    def is_object(self) -> bool:
        """Whether the carrier is itself an object, and so holds no other object."""
        return self.count("/") == LEVELS - 1

    @property
    def is_server(self) -> bool:
        """Whether the carrier has the name of a server."""
        levels = self.split("/")
        return len(levels) == _LEVELS_OF_SERVER and levels[1] == "cluster" and all(levels)


def escape(name: str) -> str:
    """Percent-encode separators, wildcards, control characters and bytes that are not UTF-8."""
    return _RESERVED.sub(lambda m: _percent(m[0]), name)


def readable_path(path: str) -> str:
    """Percent-encode what a terminal would obey: control characters, other than UTF-8."""
    return _CONTROL.sub(lambda m: _percent(m[0]), path)


def unescape(text: str) -> str:
    plain = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), text.encode(*AS_BYTES))
    return plain.decode(*AS_BYTES)


def has_wildcard(pattern: str) -> bool:
    return _WILDCARD.search(pattern) is not None


def matches(pattern: str, object_id: str) -> bool:
    """Whether the glob selects the id; without a wildcard also everything below it."""
    if not has_wildcard(pattern):
        pattern = pattern.rstrip("/")
        return object_id == pattern or object_id.startswith(pattern + "/")
    return _compiled(pattern).match(object_id) is not None


def can_match_below(pattern: str, prefix: str) -> bool:
    """Whether the glob can select any id that begins with `prefix/`."""
    wildcard = _WILDCARD.search(pattern)
    if wildcard is None:
        pattern = pattern.rstrip("/")
        return f"{prefix}/".startswith(f"{pattern}/") or pattern.startswith(f"{prefix}/")
    literal = pattern[: wildcard.start()]
    return literal.startswith(f"{prefix}/") or f"{prefix}/".startswith(literal)


def selected(patterns: Iterable[str], object_id: str) -> bool:
    """Whether any pattern selects the id; no patterns select everything."""
    patterns = tuple(patterns)
    return not patterns or any(matches(pattern, object_id) for pattern in patterns)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _percent(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return readable(character)
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
