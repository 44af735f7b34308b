"""The page in a real browser: it fits every screen, can be read, and runs nothing."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.lab import browser as lab_browser
from tests.lab.browser import Browser
from tests.watching.page.scene import GRACE, HISTORIES, NOW, STANDING, alone
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.snapshots import CarriedObject
from three_backup.watching.health import Health, Level
from three_backup.watching.overview import WatchedCarrier
from three_backup.watching.page.document import document
from three_backup.watching.page.history import History, missed

MANY = [
    WatchedCarrier(
        Carrier(f"clickhouse/table/default/shop/table_{number:05}"),
        (
            CarriedObject(
                ObjectId("clickhouse", "table", "default", "shop", f"table_{number:05}"), 0
            ),
        ),
        Health(Level.CRITICAL if number < 50 else Level.OK, ("it is late",) * (number < 50)),
    )
    for number in range(10_000)
]
HOSTILE = (
    "</title></style><script>document.title='run'</script>",
    '"><img src=x onerror="document.title=\'run\'">',
    "' onmouseover='document.title=1' \N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT ISOLATE}&amp;",
    "имя/%2F\udce9\x00" + "я" * 300,
)
WIDTHS = (390, 800, 1280)
_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


def many() -> str:
    return document(replace(STANDING, watched=MANY), [History(each) for each in MANY[:40]], 400)


def hostile() -> str:
    """Return a page on which every text that is not ours is hostile."""
    histories = [
        _renamed(history, name) for history, name in zip(HISTORIES, HOSTILE, strict=False)
    ]
    standing = replace(
        STANDING,
        host=HOSTILE[0],
        watched=[history.watched for history in histories] * 2,
        of_the_run=HOSTILE,
        patterns=HOSTILE,
    )
    return document(standing, histories, 400)


def _renamed(history: History, name: str) -> History:
    health = replace(history.watched.health, troubles=HOSTILE)
    held = (CarriedObject(ObjectId("postgres", "table", name, name, name), 1),)
    named = replace(
        history.watched, carrier=Carrier(f"postgres/{name}"), objects=held, health=health
    )
    return replace(history, watched=named)


PAGES: dict[str, Callable[[], str]] = {
    "scene": lambda: document(STANDING, HISTORIES, 400),
    "one": lambda: document(*alone(), 400),
    "none": lambda: document(replace(STANDING, watched=(), last=None), (), 400),
    "unknown": lambda: document(
        replace(STANDING, level=Level.UNKNOWN, watched=(), unknown="S3 is away"), (), 400
    ),
    "many": many,
    "hostile": hostile,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = lab_browser.found()
    if program is None:
        pytest.skip("there is no Chromium (apt-get install chromium)")
    with lab_browser.browser(program, tmp_path_factory.mktemp("browser")) as ours:
        yield ours


@pytest.mark.parametrize("name", PAGES)
def test_a_person_can_read_it_on_each_screen(name: str, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGES[name]())
    for width in WIDTHS:
        for dark in (False, True):
            browser.open(page, width, dark=dark)
            browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert browser.ask("document.scrollingElement.scrollWidth") <= width
            assert browser.ask(_CONTRAST) == []
            assert is_dark(browser) is dark
            assert len(set(pixels(browser.screenshot()))) > 60


def test_a_hostile_name_is_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(hostile())
    browser.open(page, 800)
    assert browser.ask("document.title").endswith(HOSTILE[0])
    assert browser.ask("document.querySelectorAll('script, img, [onmouseover]').length") == 0
    shown = browser.ask("document.body.innerText")
    assert HOSTILE[1] in shown
    assert "\\u202e\\u2066&amp;" in shown
    assert "\\udce9\\u0000" in shown


def test_the_browser_itself_would_refuse_to_run_a_script(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    text = PAGES["scene"]().replace("</body>", "<script>document.title='run'</script></body>")
    page.write_text(text)
    browser.open(page, 800)
    assert browser.ask("document.querySelectorAll('script').length") == 1
    assert browser.ask("document.title") == "CRITICAL: backups of db1"


@pytest.mark.parametrize("name", PAGES)
def test_every_element_ends_and_every_drawing_has_a_name(name: str) -> None:
    parser = Parser()
    parser.feed(PAGES[name]())
    parser.close()
    assert parser.open == []
    assert parser.unnamed == 0


def test_of_ten_thousand_carriers_the_worst_are_shown_and_the_rest_is_counted() -> None:
    text = many()
    assert len(text) < 200_000
    assert text.count("<article") == 40
    assert text.count('class="name"') == 400
    assert "and 9560 more, of which tb-status tells: 9560 ok" in text


def test_what_is_late_stands_on_the_time_line_at_the_time_when_it_was_due() -> None:
    (late,) = (history for history in HISTORIES if str(history.carrier).endswith("/mail"))
    due = [NOW.replace(hour=3, minute=0)]
    assert missed(late.watched, late.points[-1].time, STANDING.clock, GRACE) == due
    assert document(STANDING, [late], 0).count("missed: 30 Nov 03:00") == 1


def is_dark(browser: Browser) -> bool:
    colour = browser.ask("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) < 3 * 128


def pixels(png: bytes) -> bytes:
    """Return the pixels of a PNG as it stores them: of an empty picture, nearly all are zero."""
    stored, rest = bytearray(), png[8:]
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if rest[4:8] == b"IDAT":
            stored += rest[8 : 8 + length]
        rest = rest[12 + length :]
    return zlib.decompress(stored)


class Parser(HTMLParser):
    """Reads a page strictly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unnamed = 0

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        hidden = given.get("aria-hidden") or "svg" in self.open
        self.unnamed += tag == "svg" and not hidden and not given.get("aria-label")
        if tag not in ("meta", "link", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
