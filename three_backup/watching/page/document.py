"""The page as a whole: the verdict, the last run, and the carriers, the worst first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from three_backup import __version__
from three_backup.screen import formats
from three_backup.watching.health import Level
from three_backup.watching.overview import WatchedCarrier
from three_backup.watching.page.card import card, row, state
from three_backup.watching.page.history import History
from three_backup.watching.page.markup import Markup, element
from three_backup.watching.page.standing import Standing
from three_backup.watching.page.words import ago, at

_STYLE = Path(__file__).with_name("style.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""No script runs on the page, and nothing is fetched, whatever a name in it may hold."""

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<circle cx="8" cy="8" r="7" fill="{}"/></svg>'
)
_COLOURS = {Level.OK: "#1f7a4d", Level.WARNING: "#d08700", Level.CRITICAL: "#c22f2f"}
_UNKNOWN_COLOUR = "#777"
_LEGEND = (
    ("b", "base"),
    ("i", "incremental"),
    ("m", "missed"),
    ("b x", "cannot be restored"),
    ("w", "any second can be restored"),
    ("gap", "gap"),
    ("h", "held by tb-keep"),
)


def document(standing: Standing, histories: Sequence[History], rows: int) -> str:
    """Return the page. histories: of the first carriers; of so many after them there are rows."""
    body = element(
        "main",
        *_head(standing),
        *_cards(standing, histories),
        *_rest(standing, len(histories), rows),
        _foot(),
    )
    head = element("head", *_meta(standing), element("style", Markup(_STYLE.read_text("utf-8"))))
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _meta(standing: Standing) -> Iterator[Markup]:
    icon = _ICON.format(_COLOURS.get(standing.level, _UNKNOWN_COLOUR))
    yield element("meta", charset="utf-8")
    yield element("meta", http_equiv="Content-Security-Policy", content=_POLICY)
    yield element("meta", name="viewport", content="width=device-width, initial-scale=1")
    yield element("meta", name="color-scheme", content="light dark")
    yield element("meta", name="referrer", content="no-referrer")
    yield element("meta", name="robots", content="noindex")
    yield element("link", rel="icon", href=f"data:image/svg+xml,{quote(icon)}")
    yield element("title", f"{standing.level.name}: backups of {standing.host}")


def _head(standing: Standing) -> Iterator[Markup]:
    level = standing.level.name.lower()
    yield element(
        "header",
        element("p", "Backups of ", element("b", standing.host), class_="host"),
        element("h1", _verdict(standing), class_=level),
        *_troubles(standing),
        *_facts(standing),
        class_=f"page {level}",
    )


def _verdict(standing: Standing) -> str:
    bad = sum(watched.health.level is not Level.OK for watched in standing.watched)
    if standing.unknown is not None:
        return "How the backups stand is unknown"
    if bad:
        return f"{bad} of {formats.counted(len(standing.watched), 'carrier')} in trouble"
    if standing.of_the_run:
        return "The last run went wrong"
    if not standing.watched:
        return "No snapshot is known, and no run"
    return "All is well"


def _troubles(standing: Standing) -> Iterator[Markup]:
    sentences = [*([standing.unknown] if standing.unknown else ()), *standing.of_the_run]
    if sentences:
        yield element("ul", *(element("li", each) for each in sentences), class_="troubles")


def _facts(standing: Standing) -> Iterator[Markup]:
    """Yield a line on what is shown, and one on the last run."""
    clock, last = standing.clock, standing.last
    shown = [f" {clock.now.astimezone(clock.zone):%Z}", *_counts(standing.watched)]
    if standing.patterns:
        shown.append(f" · only {', '.join(standing.patterns)}")
    yield element("p", "As of ", at(clock.now, clock), *shown, class_="facts")
    if last is None:
        yield element("p", "No run has ended yet.", class_="facts")
        return
    took = formats.duration((last.ended_at - last.began_at).total_seconds())
    how = f" with status {last.status} and took {took}."
    yield element("p", "The last run ended ", ago(last.ended_at, clock), how, class_="facts")


def _counts(watched: Sequence[WatchedCarrier]) -> Iterator[str]:
    if watched:
        count = sum(len(each.objects) for each in watched)
        yield f" · {formats.counted(count, 'object')}"
        yield f" · {_states(watched)}"


def _states(watched: Iterable[WatchedCarrier]) -> str:
    counts = Counter(map(state, watched)).most_common()
    return ", ".join(f"{count} {name}" for name, count in counts)


def _cards(standing: Standing, histories: Sequence[History]) -> Iterator[Markup]:
    if histories:
        yield _legend()
    for history in histories:
        yield card(history, standing.clock)


def _legend() -> Markup:
    items = (
        element("li", element("span", class_=f"key {kind}", aria_hidden="true"), word)
        for kind, word in _LEGEND
    )
    return element("ul", *items, class_="legend", aria_label="what the marks mean")


def _rest(standing: Standing, begun: int, rows: int) -> Iterator[Markup]:
    """Yield those that have no card, the first of them each in a line, the others counted."""
    shown, counted = standing.watched[begun : begun + rows], standing.watched[begun + rows :]
    if shown:
        yield element("h2", f"{len(shown) + len(counted)} more")
        yield element("ul", *(row(watched, standing.clock) for watched in shown), class_="rows")
    if counted:
        told = f"and {len(counted)} more, of which tb-status tells: {_states(counted)}"
        yield element("p", told)


def _foot() -> Markup:
    words = (
        f"Written by three_backup {__version__}. Whoever can read this file knows what is backed "
        "up, but nothing of what is in it. The page does not change by itself: if it is older "
        "than the schedule, see whether tb-run still runs."
    )
    return element("footer", element("p", words))
