"""The configuration as it is written: sections of options, each with its line.

Every value is read as text, so that one of digits only (0123) stays as it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import yaml

from three_backup.config.options import option_named

STORES = "stores"
"""The section that names further stores."""

# An indented "..." cuts an example short, and is removed: unindented it ends a YAML document.
_ELLIPSIS = re.compile(r"^[ ]+\.\.\.[ ]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """Something wrong in the configuration."""

    line: int  # counted from 1
    sentence: str  # what is wrong, and the remedy


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    word: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    pattern: str
    line: int
    entries: tuple[ConfigEntry, ...]
    is_store: bool = False  # the pattern is the name of a further store


def parse(text: str) -> tuple[list[Section], list[Mistake]]:
    """Return the sections in the order they are written, and what cannot be read as a section."""
    try:
        root = yaml.compose(_ELLIPSIS.sub("", text), yaml.BaseLoader)
    except yaml.YAMLError as error:
        return [], [_not_yaml(error)]
    sections: list[Section] = []
    mistakes: list[Mistake] = []
    for found in _sections(root):
        if isinstance(found, Section):
            sections.append(found)
        else:
            mistakes.append(found)
    return sections, mistakes


def _not_yaml(error: yaml.YAMLError) -> Mistake:
    # str(error) would quote the line, and any secret in it.
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Mistake(1, "it holds characters that no text has; save it as UTF-8")
    problem = ", ".join(filter(None, (error.context, error.problem)))
    mark = error.problem_mark
    if "end of stream" in problem and error.context_mark is not None:
        mark = error.context_mark
    return Mistake(mark.line + 1, f"{problem}; {_remedy(problem)}")


def _remedy(problem: str) -> str:
    if "alias" in problem:
        return 'quote what begins with *: "*" or "*/15 * * * *"'
    if "\\t" in problem:
        return "indent with spaces, not with tabs"
    if "cannot start any token" in problem or "quoted" in problem:
        return "put the text between two quotes"
    return "write sections as - pattern: and indent their options below"


def _sections(root: yaml.Node | None) -> Iterator[Section | Mistake]:
    if root is None:
        return
    for node in root.value if isinstance(root, yaml.SequenceNode) else [root]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from _section(key, value)
        else:
            yield Mistake(_line(node), "this is not a section; write - pattern: {options}")


def _section(key: yaml.Node, value: yaml.Node) -> Iterator[Section | Mistake]:
    if not isinstance(key, yaml.ScalarNode):
        yield Mistake(_line(key), "the pattern is not a text; write it in quotes")
    elif key.value == STORES and isinstance(value, yaml.MappingNode):
        for pair in value.value:
            yield from map(_as_store, _section(*pair))
    elif option_named(key.value) and isinstance(value, yaml.ScalarNode):
        yield Mistake(_line(key), f"{key.value}: it stands outside any section; indent it more")
    elif isinstance(value, yaml.MappingNode):
        entries = [_entry(*pair) for pair in value.value]
        yield from (entry for entry in entries if isinstance(entry, Mistake))
        good = tuple(entry for entry in entries if isinstance(entry, ConfigEntry))
        yield Section(key.value, _line(key), good)
    elif _is_empty(value):
        yield Section(key.value, _line(key), ())
    else:
        yield Mistake(_line(value), f"{key.value!r}: write its options below it as name: value")


def _as_store(found: Section | Mistake) -> Section | Mistake:
    return replace(found, is_store=True) if isinstance(found, Section) else found


def _entry(key: yaml.Node, value: yaml.Node) -> ConfigEntry | Mistake:
    if not isinstance(key, yaml.ScalarNode):
        return Mistake(_line(key), "the name of an option is not a text")
    if not isinstance(value, yaml.ScalarNode):
        return Mistake(_line(key), f"{key.value}: the value is not a text; write it in quotes")
    if _is_empty(value):
        return Mistake(_line(key), f"{key.value}: it has no value; give one or remove the line")
    return ConfigEntry(key.value, value.value, _line(key))


def _is_empty(value: yaml.Node) -> bool:
    return isinstance(value, yaml.ScalarNode) and not value.value and value.style is None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
