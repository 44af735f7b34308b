"""The picture of the page in the README; python -m tests.watching.page.picture takes it anew."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab import browser
from tests.watching.page.scene import HISTORIES, STANDING
from three_backup.watching.page.document import document

PICTURE = Path(__file__).with_name("page.png")
_WIDTH, _HEIGHT = 820, 888
_LEFT_OUT = "lxd/container/default/default/mail"
"""It would push the cluster, which has WAL, out of the picture."""


def take() -> None:
    program = browser.found()
    if program is None:
        raise SystemExit("there is no Chromium (apt-get install chromium)")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = Path(folder) / "page.html"
        shown = [history for history in HISTORIES if history.carrier != _LEFT_OUT]
        page.write_text(document(STANDING, shown, 0))
        with browser.browser(program, Path(folder)) as ours:
            ours.open(page, _WIDTH, height=_HEIGHT)
            PICTURE.write_bytes(ours.screenshot())


if __name__ == "__main__":
    take()
