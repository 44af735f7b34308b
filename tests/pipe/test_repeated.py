"""The memory of what quiet runs said stays small."""

import json
from pathlib import Path

from three_backup.errors import Exit
from three_backup.pipe.repeated import quiet


def said(folder: Path, warnings: list[str], *patterns: str) -> list[str]:
    """Run quietly with these warnings; return what is said."""
    heard: list[str] = []
    with quiet(folder, patterns, heard.append) as running:
        heard += [line for line in warnings if not running.repeated.holds(line)]
        running.status = Exit.OK
    return heard


def test_a_thousand_sentences_of_a_selection_are_remembered(tmp_path: Path) -> None:
    many = [f"tb-upload: warning {number}" for number in range(1500)]
    assert said(tmp_path, many) == many
    assert said(tmp_path, many) == many[1000:]


def test_the_last_twenty_selections_are_remembered(tmp_path: Path) -> None:
    for number in range(30):
        assert said(tmp_path, [f"warning {number}"], f"postgres/{number}") == [f"warning {number}"]
    remembered = json.loads((tmp_path / "said.json").read_bytes())["said"]
    assert list(remembered) == [f"postgres/{number}" for number in range(10, 30)]
    assert said(tmp_path, ["warning 29"], "lxd") == []


def test_a_byte_that_is_no_utf_8_is_remembered(tmp_path: Path) -> None:
    assert said(tmp_path, ["of \udce9"]) == ["of \udce9"]
    assert said(tmp_path, ["of \udce9"]) == []
