"""The cost of ten and a hundred times the work, and whether a unit of work costs the same."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import many_tables, nothing_due, pipe
from tests.bench.cluster import cluster, fill
from tests.bench.measure import Cost
from tests.bench.postgres import ACCOUNTS, DOCUMENTS
from tests.bench.report import Plan, Run, bytes_shown, reached, say
from tests.bench.sink import sink
from tests.bench.transfer import Clients, random_file

_FACTORS = (1, 10, 100)
_RISEN = 1.1
_BAR = 50


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work that is measured at several sizes."""

    name: str  # says the size at full scale
    prepared: Callable[[Path, float], Iterator[Run]]
    """Takes an empty folder and a share of the full size, and yields what is to be run."""


def run(plan: Plan) -> None:
    for work in _WORKS:
        measured(plan, work)


def measured(plan: Plan, work: Work) -> list[Cost]:
    """Measure the work at each size, print the results, and return the costs."""
    costs = [_cost(plan, work, factor) for factor in _FACTORS]
    _tell(work.name, plan, costs)
    return costs


def _cost(plan: Plan, work: Work, factor: int) -> Cost:
    """Run the work so many times, and return the cost with the median CPU."""
    share = plan.scale * factor / _FACTORS[-1]
    with tempfile.TemporaryDirectory(dir=plan.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with contextmanager(work.prepared)(folder, share) as once:
            costs = sorted((once() for _ in range(plan.runs)), key=lambda cost: cost.cpu)
    return costs[len(costs) // 2]


def _tell(name: str, plan: Plan, costs: list[Cost]) -> None:
    say(f"\n#### {name}, {plan.runs} runs\n")
    say("| work | wall s | CPU s | memory of a tool | CPU |\n|---|---|---|---|---|")
    most = max(cost.cpu for cost in costs)
    for factor, cost in zip(_FACTORS, costs, strict=True):
        bar = "#" * max(1, round(_BAR * cost.cpu / most))
        memory = bytes_shown(cost.largest)
        say(f"| {factor} x | {cost.wall:.2f} | {cost.cpu:.2f} | {memory} | `{bar}` |")
    say("")
    ten, hundred = (costs[_FACTORS.index(factor)].cpu / factor for factor in (10, 100))
    what = "CPU of a unit, of that with a tenth of the work"
    reached(what, hundred / ten, _RISEN, lambda value: f"{value:.2f}")


def _base(folder: Path, share: float) -> Iterator[Run]:
    with cluster(folder) as made:
        fill(made, max(1, round(ACCOUNTS * share)), max(1, round(DOCUMENTS * share)))
        yield lambda: made.ours("--base")


def _tables(folder: Path, share: float) -> Iterator[Run]:
    with cluster(folder) as made:
        many_tables.make(made, max(1, round(many_tables.TABLES * share)))
        yield lambda: made.ours("--base")


def _upload(folder: Path, share: float) -> Iterator[Run]:
    file = random_file(folder / "file", max(1, round(2_000_000_000 * share)))
    with sink() as server:
        clients = Clients(server)
        yield lambda: clients.ours("three_backup", file)


def _nothing_due(folder: Path, share: float) -> Iterator[Run]:
    with nothing_due.backed_up(folder, max(1, round(nothing_due.OBJECTS * share))) as made:
        yield made.run


def _records(folder: Path, share: float) -> Iterator[Run]:
    with pipe.planned(folder, max(1, round(pipe.RECORDS * share))) as (tools, records):
        yield lambda: pipe.through_five(tools, records)


_WORKS = (
    Work("a base of PostgreSQL, 2.4 GB at full scale", _base),
    Work("a base of PostgreSQL, 10,000 tables at full scale", _tables),
    Work("an upload, 2 GB at full scale", _upload),
    Work(
        "tb-run with nothing due, 10,000 objects at full scale, 43 snapshots of each", _nothing_due
    ),
    Work("five tools in a pipe, 100,000 records at full scale", _records),
)
