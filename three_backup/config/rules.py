"""Turns sections into rules with converted options, and finds everything wrong with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from three_backup.config.options import OPTIONS, Scope, option_named, words
from three_backup.config.sections import ConfigEntry, Mistake, Section
from three_backup.errors import ConfigurationError
from three_backup.model.encryption import Demand
from three_backup.model.objects import LEVELS, can_match_below, has_wildcard, matches
from three_backup.model.stages import Stage

EVERYTHING = "*"
_SUBTYPES = {
    "lxd": ("container", "vm", "volume"),
    "incus": ("container", "vm", "volume"),
    "postgres": ("table", "view"),
    "clickhouse": ("table", "view"),
}
CheckPlace = Callable[[str, str], None]
"""Takes the name of an option and the pattern of a section; its ValueError says why not there."""

_OVERRIDABLE = ("disable", "max_stage")
_BY_TIME = ("keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")


@dataclass(frozen=True, slots=True)
class Given:
    """A converted value, and the section and the line that give it."""

    value: Any
    line: int
    pattern: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A section: the pattern of its objects, and its options by name."""

    pattern: str
    line: int
    options: Mapping[str, Given]

    def matches(self, object_id: str) -> bool:
        return matches(self.pattern, object_id)

    def value(self, name: str) -> Any:
        """Return the value that the section gives an option; None if it gives none."""
        return self.options[name].value if name in self.options else None

    def covers(self, pattern: str) -> bool:
        """Return whether the rule matches all that pattern matches."""
        narrow = pattern.rstrip("/")
        if not has_wildcard(narrow) and narrow.count("/") < LEVELS - 1:
            narrow += "/"
        return matches(self.pattern, narrow)


def of_source(source_type: str) -> tuple[str, ...]:
    """Return the patterns of sections that hold for a source as a whole."""
    return source_type, f"{source_type}/*"


def understand(sections: Sequence[Section], folder: Path) -> tuple[list[Rule], list[Mistake]]:
    """Convert sections to rules, and return the mistakes in them.

    folder: where files that sections name are looked for.
    """
    rules, mistakes = [], [*repeated(sections), *_unmatchable(sections)]
    for section in sections:
        options, wrong = options_of(section, folder, _check_scope)
        rules.append(Rule(section.pattern, section.line, options))
        mistakes += wrong
    return rules, mistakes or list(keyless(rules))


def keyless(rules: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield each rule that requires encryption where no rule gives a key."""
    for rule in rules:
        keys = (
            each.value("encryption_key")
            for each in rules
            if each.pattern == rule.pattern or each.covers(rule.pattern)
        )
        if rule.value("encryption") is Demand.REQUIRED and not any(keys):
            yield Mistake(
                rule.options["encryption"].line,
                "encryption: it is required, but there is no key; name a file that has one: "
                "encryption_key_file",
            )


def overridden(rules: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield each option of a broad section that overrides a narrow one above: seldom intended."""
    for number, lower in enumerate(rules):
        for upper in rules[:number]:
            for name in _OVERRIDABLE:
                if _undoes(lower, upper, name):
                    yield Mistake(
                        lower.options[name].line,
                        f"{name}: {lower.pattern!r} overrides {upper.pattern!r} of line "
                        f"{upper.line}, since the lower section wins; write the narrower below",
                    )


def kept_all_the_same(rules: Sequence[Rule]) -> Iterator[Mistake]:
    """Yield each limit of no bases in S3, where no rule of time takes its place."""
    if any(rule.value(name) for rule in rules for name in _BY_TIME):
        return
    for rule in rules:
        stage: Stage | None = rule.value("max_stage")
        goes_there = stage is None or stage.reaches(Stage.SYNCED_S3)
        if goes_there and rule.value("max_base_snapshots_s3") == 0:
            yield Mistake(
                rule.options["max_base_snapshots_s3"].line,
                "max_base_snapshots_s3: 0 acts as 1, since the newest snapshot always stays with "
                "its base; write 1, or max_stage: snapshot_incremental to keep out of S3",
            )


def _undoes(lower: Rule, upper: Rule, name: str) -> bool:
    if name not in lower.options or name not in upper.options:
        return False
    differs = lower.options[name].value != upper.options[name].value
    return differs and lower.covers(upper.pattern)


def repeated(sections: Sequence[Section]) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for section in sections:
        if section.pattern in first:
            yield Mistake(
                section.line,
                f"{section.pattern!r}: the section stands at line {first[section.pattern]} too; "
                "join them",
            )
        first.setdefault(section.pattern, section.line)


def _unmatchable(sections: Sequence[Section]) -> Iterator[Mistake]:
    for section in sections:
        why = _why_nothing_matches(section.pattern)
        if why:
            yield Mistake(section.line, f"{section.pattern!r} can match nothing: {why}")


def _why_nothing_matches(pattern: str) -> str:
    """Return why the pattern can match nothing; empty if it can match something."""
    if not pattern:
        return f'write "{EVERYTHING}" for everything'
    if pattern.rstrip("/").count("/") >= LEVELS:
        return f"an id has {LEVELS} levels; write %2F for a slash inside a name"
    pairs = [
        f"{source_type}/{subtype}"
        for source_type, subtypes in _SUBTYPES.items()
        for subtype in subtypes
    ]
    if any(can_match_below(pattern, pair) for pair in pairs):
        return ""
    source_type, _, rest = pattern.partition("/")
    if source_type in _SUBTYPES:
        word, known = rest.partition("/")[0], _SUBTYPES[source_type]
        return f"{source_type} has {', '.join(known)}{did_you_mean(word, known)}"
    return f"there are {', '.join(_SUBTYPES)}{did_you_mean(source_type, tuple(_SUBTYPES))}"


def options_of(
    section: Section, folder: Path, check: CheckPlace
) -> tuple[dict[str, Given], list[Mistake]]:
    """Convert the options of a section, and return the mistakes in them."""
    options: dict[str, Given] = {}
    mistakes: list[Mistake] = []
    for entry in section.entries:
        try:
            name, text = _named(entry, options, folder)
            check(name, section.pattern)
            value = OPTIONS[name].convert(text)
        except (ValueError, ConfigurationError) as error:
            mistakes.append(Mistake(entry.line, f"{entry.word}: {error}"))
        else:
            options[name] = Given(value, entry.line, section.pattern)
    return options, mistakes


def _named(entry: ConfigEntry, options: Mapping[str, Given], folder: Path) -> tuple[str, str]:
    """Return the option's name and text; raise ValueError where it cannot stand here."""
    named = option_named(entry.word)
    if named is None:
        raise ValueError(f"there is no such option{did_you_mean(entry.word, words())}")
    name, in_file = named
    if name in options:
        raise ValueError(f"{name} is given at line {options[name].line} too; keep one of them")
    return name, _file_text(folder / Path(entry.text).expanduser()) if in_file else entry.text


def _check_scope(name: str, pattern: str) -> None:
    scope = OPTIONS[name].scope
    if scope is Scope.OBJECT or pattern == EVERYTHING:
        return
    if scope is Scope.RUN:
        raise ValueError(f'it holds for a whole run; write it under "{EVERYTHING}"')
    source_type = pattern.partition("/")[0]
    if pattern not in of_source(source_type):
        raise ValueError(
            f'it holds for a whole source; write it under {source_type} or "{EVERYTHING}"'
        )


def _file_text(path: Path) -> str:
    try:
        return path.read_text().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return the known word that comes nearest, as the end of a sentence; empty without one."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
