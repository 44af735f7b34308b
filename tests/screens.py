"""The screens of the README, as the tools print them; python -m tests.screens rewrites them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from three_backup.demo import shop, visits
from three_backup.demo.scene import Scene, scene

README = Path(__file__).parents[1] / "README.md"
_BETWEEN = re.compile(r"(?<=<!-- screens: python -m tests\.screens -->\n).*?(?=<!-- end)", re.S)


def screens() -> str:
    """Return, in Markdown, what an administrator sees on a day when ClickHouse stops."""
    with scene(keep=False) as place:
        place.write_files()
        nightly = place.configuration.read_text().replace('"* * * * *"', "0 3 * * *")
        place.configuration.write_text(nightly)
        shop.create(place.conninfo("postgres"))
        shop.fill(place.conninfo(shop.DATABASE))
        visits.fill(place.clickhouse)
        return "\n".join(_screen(place, command) for command in _commands(place))


def printed() -> str:
    """Return the screens that the README shows now."""
    found = _BETWEEN.search(README.read_text())
    assert found is not None
    return found[0]


def without_figures(text: str) -> str:
    """Replace numbers, times, sizes and the space around them, which differ from run to run."""
    figures = re.sub(r"(?:\d[\d.,:TZ-]*(?: ?(?:min|[kMGT]?B|[smhd])\b)?\s*)+", "# ", text)
    return re.sub(r"(?<= )(?:[-#] )+", "# ", " ".join(figures.split()))


def _commands(place: Scene) -> Iterator[str]:
    yield "tb-run"
    yield "tb-status"
    yield "tb-list --snapshots -s 'postgres/table/shop/public/orders'"
    place.clickhouse.stop()
    yield "tb-run"
    yield "tb-status"


def _screen(place: Scene, command: str) -> str:
    done = subprocess.run(
        ("/bin/sh", "-c", f"{command} 2>&1"),
        env={**place.environ, "COLUMNS": ""},  # there is no terminal
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    status = f"[exit status {done.returncode}]\n" if done.returncode else ""
    text = f"$ {command}\n{done.stdout}{status}"
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())


if __name__ == "__main__":
    README.write_text(_BETWEEN.sub(lambda _: screens(), README.read_text()))
