"""Finds what a selector that matches nothing may have been meant to say. Pure."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from three_backup.model.objects import LEVELS, has_wildcard, matches

_MOST = 3
_ALIKE = 0.6
_FIRST_NAME = 2
"""Where the names begin in an id: after the type and the subtype."""


def nearest(pattern: str, ids: Collection[str]) -> list[str]:
    """Return the ids, or selectors of several, that come nearest to the pattern; best first."""
    split = [object_id.split("/") for object_id in ids]
    spelt = pattern.strip("/")
    last = spelt.rpartition("/")[2]
    for guesses, what in (
        (_ending_in, spelt),
        (_corrected, spelt),
        (_alike, spelt),
        (_ending_in, last),
        (_alike, last),
    ):
        if found := list(dict.fromkeys(guesses(what, split))):
            return [guess for guess in found if any(matches(guess, one) for one in ids)]
    return []


def in_words(guesses: Sequence[str]) -> str:
    """Return what to try instead, in words for a person; empty where there is no guess."""
    if len(guesses) == 1:
        return f"did you mean {guesses[0]}?"
    shown, others = ", ".join(guesses[:_MOST]), len(guesses) - _MOST
    more = f" and {others} more" if others > 0 else ""
    return f"the nearest are {shown}{more}" if guesses else ""


def _ending_in(pattern: str, split: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield what ends in the pattern, ids rather than schemas, and these than databases.

    SQL joins names by dots: `public.orders` is looked for as `public/orders`, too.
    """
    for spelling in dict.fromkeys((pattern, pattern.replace(".", "/"))):
        for depth in range(LEVELS, _FIRST_NAME, -1):
            heads = dict.fromkeys("/".join(levels[:depth]) for levels in split)
            found = [head for head in heads if _ends_in(spelling, head)]
            if found:
                yield from found
                return


def _ends_in(pattern: str, head: str) -> bool:
    if not pattern.strip("*"):
        return False
    if has_wildcard(pattern):
        return matches(f"*/{pattern}", head)
    return head.casefold().endswith(f"/{pattern.casefold()}")


def _corrected(pattern: str, split: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the pattern with each level that there is not replaced by one much like it."""
    if "/" in pattern:
        yield from map("/".join, _paths(pattern.split("/"), 0, split))


def _paths(
    parts: Sequence[str], depth: int, split: Sequence[Sequence[str]]
) -> Iterator[list[str]]:
    if depth == len(parts):
        yield []
        return
    for name in _names(parts[depth], {levels[depth] for levels in split if depth < len(levels)}):
        below = [levels for levels in split if depth < len(levels) and _fits(name, levels[depth])]
        yield from ([name, *rest] for rest in _paths(parts, depth + 1, below))


def _names(part: str, names: Collection[str]) -> list[str]:
    if part in names or (has_wildcard(part) and any(_fits(part, name) for name in names)):
        return [part]
    return _spelt_like(part, names)


def _fits(part: str, name: str) -> bool:
    return part == name or (has_wildcard(part) and matches(part, name))


def _alike(pattern: str, split: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the ids that look like the pattern, or have a name that does."""
    if "/" in pattern:
        yield from _spelt_like(pattern, {"/".join(levels) for levels in split})
        return
    for place in range(LEVELS - 1, -1, -1):
        names = {levels[place] for levels in split if place < len(levels)}
        for name in _spelt_like(pattern, names):
            yield from (
                "/".join(levels[: place + 1])
                for levels in split
                if place < len(levels) and levels[place] == name
            )


def _spelt_like(word: str, known: Collection[str]) -> list[str]:
    """Return at most three of the known words that are much like it, in whatever case."""
    folded: dict[str, list[str]] = {}
    for one in sorted(known):
        folded.setdefault(one.casefold(), []).append(one)
    close = get_close_matches(word.casefold(), folded, _MOST, _ALIKE)
    return [one for match in close for one in folded[match]]
