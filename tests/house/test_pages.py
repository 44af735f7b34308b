"""Commands, their usage texts and their pages agree."""

import re
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from three_backup.errors import Exit
from three_backup.watching.health import Level

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.name for path in (ROOT / "bin").iterdir())
PAGES = sorted((ROOT / "man").iterdir())
_USAGE_OPTION = re.compile(
    r"^ {2}(?:(-\w), | {4})(--[\w-]+)(?: ([A-Z]+))? {2,}(.*)$", re.MULTILINE
)
_PAGE_OPTION = re.compile(r"^\.It Fl (?:(\w) , )?-([\w-]+)(?: Ar ([A-Z]+))?\n", re.MULTILINE)
_DEFAULT = re.compile(r"\[default: (.+?)\]")


@dataclass(frozen=True, slots=True)
class Option:
    """An option as a usage text or a page writes it."""

    short: str  # "-c", or ""
    long: str  # "--config"
    metavar: str  # "FILE", or ""


def usage(command: str) -> str:
    tool = command.removeprefix("tb-")
    module = "demo.story" if tool == "demo" else f"tools.{tool}"
    text = import_module(f"three_backup.{module}").__doc__
    assert text is not None
    return text


def page(command: str) -> str:
    return (ROOT / "man" / f"{command}.1").read_text()


def section(text: str, name: str) -> str:
    match = re.search(rf"^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"there is no section {name}"
    return match[1]


def usage_options(command: str) -> dict[Option, str]:
    """Return each option's description in the usage text, without continuation lines."""
    found = _USAGE_OPTION.findall(usage(command))
    return {Option(short, long, metavar): text for short, long, metavar, text in found}


def page_options(command: str) -> dict[Option, str]:
    """Return each option's description on the page."""
    text = section(page(command), "OPTIONS")
    matches = list(_PAGE_OPTION.finditer(text))
    ends = [following.start() for _, following in pairwise(matches)] + [len(text)]
    return {
        Option(f"-{m[1]}" if m[1] else "", f"--{m[2]}", m[3] or ""): text[m.end() : end]
        for m, end in zip(matches, ends, strict=True)
    }


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert [f"{command}.1" for command in COMMANDS] == [
        path.name for path in PAGES if path.suffix == ".1"
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_the_name_and_the_summary_of_the_usage_text(command: str) -> None:
    name, summary = usage(command).splitlines()[0].split(" - ")
    assert section(page(command), "NAME") == f".Nm {name}\n.Nd {summary}\n"
    assert name == command


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_the_options_of_the_usage_text_in_their_order(command: str) -> None:
    assert list(page_options(command)) == list(usage_options(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_line_of_an_option_is_understood_by_this_test(command: str) -> None:
    written = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", usage(command), re.MULTILINE)
    assert written == [option.long for option in usage_options(command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_names_every_default(command: str) -> None:
    explained = page_options(command)
    for option, text in usage_options(command).items():
        for default in _DEFAULT.findall(text):
            assert default in explained[option]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_lists_every_exit_status(command: str) -> None:
    listed = re.findall(r"^\.It (\d+)$", section(page(command), "EXIT STATUS"), re.MULTILINE)
    nagios = {*Level, Exit.INTERRUPTED, Exit.CLOSED_PIPE, Exit.TERMINATED}
    statuses = nagios if command == "tb-status" else set(Exit)
    assert [int(status) for status in listed] == sorted(statuses)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_names_only_options_that_exist(command: str) -> None:
    known = {option.long.lstrip("-") for option in usage_options(command)}
    synopsis = section(page(command), "SYNOPSIS")
    assert set(re.findall(r"Fl (?:\w \| )?-([a-z][\w-]+)", synopsis)) <= known


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "tb-demo"])
def test_a_command_is_three_lines(command: str) -> None:
    tool = command.removeprefix("tb-")
    assert (ROOT / "bin" / command).read_text() == (
        "#!/usr/bin/env python3\n"
        f"from three_backup.tools.{tool} import main\n"
        "raise SystemExit(main())\n"
    )


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "tb-demo"])
def test_the_usage_is_what_generic_completers_read(command: str) -> None:
    """bash's _longopt and zsh's _gnu_generic look for options at the beginning of a line."""
    completed = re.findall(r"^ *(?:-\w, )?(--[A-Za-z0-9][-A-Za-z0-9]+)", usage(command), re.M)
    assert completed == [option.long for option in usage_options(command)]
