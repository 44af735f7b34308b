"""Restore a whole cluster of 3 GB from S3, out of a base and 3 and 20 incrementals."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cluster import DATABASE
from tests.bench.content import hashes, revived
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME, PgBackRest
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare, reached
from tests.bench.room import Room, room_taken
from tests.bench.stored import Moment, Stored, settle, stored

ACCOUNTS = 125
DOCUMENTS = 7_500_000
_INCREMENTALS = (3, 20)
_TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "documents", "small")
_BARS = (Bar("wall", 1.0, (NAME,)), Bar("CPU", 1.0, (NAME,)))
_ROOM = 1.1
MEMORY = 200_000_000
_THEIRS = """\
exec $pgbackrest restore --process-max=2 --set={label} --pg1-path={folder} \
    --type=immediate --target-action=promote --archive-mode=off
"""


@dataclass(frozen=True, slots=True)
class _Past:
    """A moment of the cluster's past."""

    incrementals: int  # after the base
    moment: Moment
    size: int  # bytes of the databases
    held: Mapping[str, str]  # what the tables held


def on_17(plan: Plan) -> None:
    _run(plan, 17)


def on_18(plan: Plan) -> None:
    _run(plan, 18)


def restored(chain: Stored, arguments: str = "") -> Cost:
    """Restore the cluster into the folder `restored/pgdata`; the size is the most room it took."""
    folder = chain.made.folder / "restored"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o711)
    chain.forget()
    with room_taken(folder, chain.tools.local) as room:
        cost = chain.tools.cost(
            f"tb-restore {arguments} --pgdata {folder / 'pgdata'} 'postgres/*'"
        )
    return cost.of_size(room.most)


def _run(plan: Plan, version: int) -> None:
    accounts, documents = plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS)
    with stored(plan.folder, accounts, documents, version, beside_peer=True) as chain:
        chain.base()
        pasts: list[_Past] = []
        for incrementals in _INCREMENTALS:
            before = pasts[-1].incrementals if pasts else 0
            moment = chain.extend(incrementals - before)
            held = hashes(chain.made.server, DATABASE, _TABLES)
            pasts.append(_Past(incrementals, moment, chain.made.size(), held))
        for past in pasts:
            _compare(plan, chain, past)


def _compare(plan: Plan, chain: Stored, past: _Past) -> None:
    made = chain.made
    snapshot = past.moment.snapshot
    runs: dict[str, Run] = {OURS: lambda: restored(chain, f"--snapshot {snapshot}")}
    if made.peer is not None:
        peer = made.peer
        runs[NAME] = lambda: _theirs(peer, made.folder / "peer/restored", past.moment)
    title = (
        f"A cluster of {bytes_shown(past.size)} on PostgreSQL {made.server.version}, out of a "
        f"base and {past.incrementals} incrementals, size: on the disk at its peak"
    )
    costs = compare(title, plan.runs, runs, _BARS)[OURS]
    folder = made.folder / "restored"
    data = Room((folder,)).taken()
    reached("on the disk", max(cost.size for cost in costs), _ROOM * data, bytes_shown)
    reached("memory", max(cost.memory for cost in costs), MEMORY, bytes_shown)
    with revived(folder, made.server) as server:
        assert hashes(server, DATABASE, _TABLES) == past.held, "what came back differs"


def _theirs(peer: PgBackRest, folder: Path, moment: Moment) -> Cost:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    peer.give(folder)
    settle()
    with room_taken(folder) as room:
        cost = peer.shell(_THEIRS.format(label=moment.label, folder=folder))
    return cost.of_size(room.most)
