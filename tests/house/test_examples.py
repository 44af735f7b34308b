"""Examples in the README and the pages name existing commands, options and settings."""

import re
from pathlib import Path

import pytest

from tests.house.test_pages import COMMANDS, PAGES, ROOT, usage_options
from three_backup.config import load

DOCUMENTS = [ROOT / "README.md", *PAGES]
_CODE = re.compile(r"^(?: {4}|\.Dl |(?=tb-))(.*tb-.*)$", re.MULTILINE)
_COMMAND = re.compile(r"(?<![\w-])(?:bin/)?(tb-\w+)([^|<>#;]*)")
_OPTION = re.compile(r"(?<=\s)(--?[a-z][\w-]*)")


def examples(document: Path) -> list[tuple[str, str]]:
    """Return every tb-* command in a document's code, with its arguments."""
    lines = _CODE.findall(document.read_text())
    return [found for line in lines for found in _COMMAND.findall(line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_use_commands_and_options_that_exist(document: Path) -> None:
    for command, arguments in examples(document):
        assert command in COMMANDS
        known = {name for option in usage_options(command) for name in (option.short, option.long)}
        assert set(_OPTION.findall(arguments)) <= known, arguments


def test_the_examples_of_the_readme_are_found() -> None:
    assert {"tb-restore", "tb-run", "tb-demo"} <= {
        command for command, _ in examples(ROOT / "README.md")
    }


def test_the_configuration_of_the_readme_loads(tmp_path: Path) -> None:
    code = re.search(r"^    - \"\*\":\n(?: {4}.*\n)+", (ROOT / "README.md").read_text(), re.M)
    assert code is not None
    written = tmp_path / "three_backup.yaml"
    written.write_text(re.sub(r"^ {4}", "", code[0], flags=re.M))
    written.chmod(0o600)
    assert load(written, {}).warnings == ()
