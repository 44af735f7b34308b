"""Chooses the words that complete what was typed of an id. Pure."""

from collections.abc import Iterable


def next_words(typed: str, ids: Iterable[str]) -> list[str]:
    """Return how the ids go on up to their next slash; up to where they differ, if they agree.

    A bare name that begins no id is completed to the ids whose last name begins so.
    """
    beginning = sorted(known for known in ids if known.startswith(typed))
    if not beginning and "/" not in typed:
        name = typed.casefold()
        return sorted(
            known for known in ids if known.rpartition("/")[2].casefold().startswith(name)
        )
    heads = _heads(typed, beginning)
    while len(heads) == 1 and heads[0].endswith("/"):
        typed = heads[0]
        heads = _heads(typed, beginning)
    return heads


def _heads(typed: str, ids: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for known in ids:
        end = known.find("/", len(typed))
        found[known if end < 0 else known[: end + 1]] = None
    return list(found)
