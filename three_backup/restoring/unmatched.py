"""Selectors that match nothing: each is an error that names what comes nearest to it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from shutil import which

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.stored_ids import stored_ids
from three_backup.config import Configuration
from three_backup.deciding import discovery
from three_backup.errors import BackupError, NothingFoundError
from three_backup.model.nearest import in_words, nearest
from three_backup.model.objects import Carrier, can_match_below, matches
from three_backup.model.records import Record, of_selector
from three_backup.pipe import Invocation
from three_backup.restoring.nothing_found import Whereabouts
from three_backup.sources import SOURCES

_CODE = "select.nothing"

Explain = Callable[[str], NothingFoundError]
"""Returns the error that a selector matches nothing."""


class Selection:
    """The selectors of a tool, and which of them have matched nothing so far."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._left = list(dict.fromkeys(patterns))
        self._unlisted: set[str] = set()  # the types of sources not listed as a whole
        self._unknown = False  # a record may stand for anything

    def see(self, record: Record) -> None:
        """Take note of what a record matches, or of what it says could not be listed."""
        if self._left:
            self._left = [pattern for pattern in self._left if not matches(pattern, record.id)]
        if record.failed and not Carrier(record.id).is_object:
            self._unlisted.add(record.carrier.type)
            self._unknown |= not record.id

    @property
    def unmatched(self) -> list[str]:
        """The selectors that match nothing.

        Without those of which nobody knows, because a source that they reach was not listed.
        """
        return [
            pattern
            for pattern in self._left
            if not self._unknown
            and not any(can_match_below(pattern, unlisted) for unlisted in self._unlisted)
        ]

    def failures(self, explain: Explain) -> Iterator[tuple[Record, NothingFoundError]]:
        """Yield a record for each selector that matches nothing, and the error."""
        for pattern in self.unmatched:
            yield of_selector(pattern), explain(pattern)


def unmatched_among(
    records: Iterable[Record], patterns: Sequence[str], explain: Explain
) -> Iterator[tuple[Record, NothingFoundError]]:
    """Yield a record for each selector that matches none of the records, and the error."""
    selection = Selection(patterns)
    for record in records:
        selection.see(record)
    yield from selection.failures(explain)


def reported(
    invocation: Invocation, found: Iterable[tuple[Record, BackupError | None]], explain: Explain
) -> Iterator[Record]:
    """Yield what was found, then a failed record for each selector that matches nothing."""
    selection = Selection(invocation.patterns)
    for record, error in found:
        told = record if error is None else invocation.fail(record, error)
        selection.see(told)
        yield told
    for record, error in selection.failures(explain):
        yield invocation.fail(record, error)


def at_sources(configuration: Configuration) -> Explain:
    """Explain that a selector matches nothing at the sources, which are listed anew for that."""

    @cache
    def listed(types: Sequence[str]) -> Collection[str]:
        found = discovery.live(types, configuration, _unsaid)
        return [record.id for record, error in found if error is None]

    def explain(pattern: str) -> NothingFoundError:
        if missing := absent(pattern):
            return missing
        types = tuple(
            source.type for source in SOURCES if can_match_below(pattern, source.type)
        ) or tuple(source.type for source in SOURCES)
        return _not_matched(pattern, listed(types), "tb-list shows what there is")

    return explain


def among(ids: Collection[str], hint: str) -> Explain:
    """Explain that a selector matches none of the ids. hint: where none is near to it."""
    return lambda pattern: _not_matched(pattern, ids, hint)


def in_catalogs(catalogs: Sequence[Catalog]) -> Explain:
    """Explain that a selector matches nothing that is stored."""
    whereabouts = Whereabouts(catalogs)

    @cache
    def known() -> Collection[str]:
        return stored_ids(catalogs, [source.type for source in SOURCES])

    def explain(pattern: str) -> NothingFoundError:
        if whereabouts.nothing is not None:
            return whereabouts.not_found(_CODE, f"{pattern}: it matches no object", "")
        return _not_matched(
            pattern, known(), "tb-list --stored shows what there is", "stored object"
        )

    return explain


def _not_matched(
    pattern: str, ids: Collection[str], hint: str, what: str = "object"
) -> NothingFoundError:
    remedy = in_words(nearest(pattern, ids)) or hint
    return NothingFoundError(_CODE, f"{pattern}: it matches no {what}", remedy)


def unknown(pattern: str, names: Collection[str]) -> NothingFoundError:
    """Explain that a selector reaches none of a few names."""
    remedy = in_words(nearest(pattern, names)) or f"known are {', '.join(names)}"
    return NothingFoundError(_CODE, f"{pattern}: there is nothing of that name", remedy)


def absent(pattern: str) -> NothingFoundError | None:
    """Explain that the pattern names a source whose programs are missing; None if it does not."""
    for source in SOURCES:
        named = pattern == source.type or pattern.startswith(f"{source.type}/")
        if named and not any(which(program) for program in source.programs):
            programs = " or ".join(source.programs)
            return NothingFoundError(
                _CODE,
                f"{pattern}: it matches no object, since {programs} is not on PATH",
                "install it or set PATH; tb-list --stored shows what snapshots hold",
            )
    return None


def _unsaid(sentence: str) -> None:
    """Whatever a source says was said when it was listed at first."""
