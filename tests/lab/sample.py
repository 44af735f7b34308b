"""Draw by a seed the part of exhaustive tests that a quick run does.

Tests that differ only in the version of PostgreSQL, the S3 server, the instant of a kill or the
place of a fault prove the same. CONTRIBUTING.md lists what is sampled; `--all` runs everything.
"""

import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

_ROOT = Path(__file__).parents[2]
DAEMONS = ("lxd", "incus")
_VERSIONS = ("17", "18")
_DIALECTS = ("seaweed", "moto", "swift")
_PARAMETERS = {
    "postgres",
    "host",
    "own",
    "broken",
    "old",
    "untouched",
    "storage",
    "lab",
    "server",
    "eventful",
    "lossy",
    "varied",
    "promoted",
}
"""The fixtures that take a version, a dialect or a daemon."""
_ALTERNATIVES = {*_VERSIONS, *_DIALECTS, *DAEMONS}
_INSTANTS = 10
_FAR = 10_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sample:
    """The choice of what a run of the tests does."""

    seed: str
    everything: bool
    seeds: int | None  # the number of kills and faults to try; None: not given
    one_daemon: bool = False  # for all files, so that one machine is enough

    @classmethod
    def of(cls, config: pytest.Config) -> "Sample":
        option = config.option
        return cls(option.seed, option.all, option.seeds, option.lxd == "core")

    def some(self, values: Sequence[_T], most: int, key: str) -> list[_T]:
        """Draw at most so many of the values, and keep their order; key: names the choice."""
        if self.everything or self.seeds or len(values) <= most:
            return list(values)
        chosen = self.random(key).sample(range(len(values)), most)
        return [values[number] for number in sorted(chosen)]

    def instants(self, key: str) -> Sequence[int]:
        """Return the seeds of a sweep. A sample has one, odd, that a run of everything lacks."""
        if self.everything or self.seeds:
            return range(self.seeds or _INSTANTS)
        return [1 + 2 * self.random(key).randrange(_INSTANTS, _FAR)]

    def random(self, key: str) -> Random:
        return Random(f"{self.seed} {key}")

    def drawn(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Choose the tests to run: one version per file, one daemon, one dialect per test."""
        if self.everything:
            return list(items)
        values: dict[str, set[str]] = defaultdict(set)
        for item in items:
            values[_test(item)].update(_values(item))
        return [item for item in items if self._is_drawn(item, values[_test(item)])]

    def _is_drawn(self, item: pytest.Item, values: Iterable[str]) -> bool:
        """Whether the test is chosen; values: the versions and dialects it can run on."""
        dialects = [value for value in _DIALECTS if value in values]
        chosen = {self.random(_test(item)).choice(dialects)} if dialects else set()
        for alternatives in (_VERSIONS, DAEMONS):
            there = [value for value in alternatives if value in values]
            if there:
                is_one = self.one_daemon and alternatives is DAEMONS
                key = "daemon" if is_one else item.nodeid.partition("::")[0]
                drawn = self.random(key).choice(alternatives)
                chosen.add(drawn if drawn in there else there[0])
        return chosen.issuperset(set(_values(item)) & _ALTERNATIVES)


def commit() -> str:
    """Return the short hash of the checked-out commit; 0 where there is none."""
    argv = ("git", "rev-parse", "--short", "HEAD")
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "0"


def _test(item: pytest.Item) -> str:
    """Return a text that is the same for tests that prove the same."""
    others = [f"{name}={value!r}" for name, value in _parameters(item) if name not in _PARAMETERS]
    return " ".join((item.nodeid.partition("[")[0], *others))


def _values(item: pytest.Item) -> Iterable[str]:
    """Return the versions and dialects that the test runs on."""
    named = (str(value) for name, value in _parameters(item) if name in _PARAMETERS)
    return [value.removeprefix("postgres") for value in named]


def _parameters(item: pytest.Item) -> Iterable[tuple[str, object]]:
    found: Mapping[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    return found.items()
