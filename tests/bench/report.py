"""Run the rows of the benchmark, check their bars, and print the results as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.measure import Cost
from three_backup.screen import formats

OURS = "three_backup"

Run = Callable[[], Cost]
Value = Callable[[Cost], float]

MEASURES: Mapping[str, Value] = {
    "wall": lambda cost: cost.wall,
    "CPU": lambda cost: cost.cpu,
    "size": lambda cost: cost.size,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a row is to be run."""

    scale: float  # multiplies the sizes that the rows are meant for
    runs: int  # of each contestant
    folder: Path  # empty when a row begins; every account may traverse it

    def scaled(self, full: int, least: int = 1) -> int:
        return max(least, round(full * self.scale))


@dataclass(frozen=True, slots=True)
class Bar:
    """An upper bound on our cost, relative to that of the best peer."""

    measure: str  # a key of MEASURES
    most: float | None  # the highest ratio allowed; None: only report the ratio
    peers: Sequence[str]


def compare(
    title: str,
    runs: int,
    contestants: Mapping[str, Run],
    bars: Sequence[Bar] = (),
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[Cost]]:
    """Run `before` and then each contestant in turn, `runs` times, and print the results.

    Bars none of whose peers took part are skipped.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contestants}
    for _ in range(runs):
        before()
        for name, run in contestants.items():
            costs[name].append(run())
    say(f"\n#### {title}, {runs} runs\n")
    say("| | wall s | CPU s | of it server | memory | size |\n|---|---|---|---|---|---|")
    for name, those in costs.items():
        say(f"| {name} | {' | '.join(_columns(those))} |")
    say("")
    for bar in bars:
        if any(peer in costs for peer in bar.peers):
            say(f"- {_verdict(bar, costs)}")
    return costs


def reached(what: str, value: float, most: float, shown: Callable[[float], str]) -> None:
    """Print a value beside its upper bound; for bounds that are no ratio."""
    say(f"- {what}: {shown(value)}, {_reached(value, most, shown)}")


def say(line: str) -> None:
    print(line, flush=True)


def bytes_shown(count: float) -> str:
    return formats.size(round(count))


def _columns(costs: Sequence[Cost]) -> list[str]:
    size = round(median(cost.size for cost in costs))
    return [
        _spread([cost.wall for cost in costs]),
        _spread([cost.cpu for cost in costs]),
        f"{median(cost.server for cost in costs):.2f}",
        formats.size(round(median(cost.memory for cost in costs))),
        formats.size(size) if size else "",
    ]


def _verdict(bar: Bar, costs: Mapping[str, Sequence[Cost]]) -> str:
    """Compare run by run: other load on the machine then weighs on both sides alike."""
    value = MEASURES[bar.measure]
    peers = [peer for peer in bar.peers if peer in costs]
    best = min(peers, key=lambda peer: median(map(value, costs[peer])))
    ratios = [value(a) / value(b) for a, b in zip(costs[OURS], costs[best], strict=True)]
    told = f"{bar.measure}: {_spread(ratios)} x {best}"
    return told if bar.most is None else f"{told}, {_reached(median(ratios), bar.most, _number)}"


def _reached(value: float, most: float, shown: Callable[[float], str]) -> str:
    return f"at most {shown(most)}: {'reached' if value <= most else '**not reached**'}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    """Format the median; with more than one value, the least and the most too."""
    middle = f"{median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f}-{max(values):.2f})"
