"""Archiving 64 segments of WAL: pushed in batches of eight, and pulled at once."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from tests.bench.cluster import Cluster, cluster
from tests.bench.measure import Cost
from tests.bench.pgbackrest import NAME, PgBackRest
from tests.bench.report import OURS, Bar, Plan, Run, compare
from tests.bench.tools import Tools
from three_backup.sources.postgres.wal.archive import Reached, WalArchive
from three_backup.sources.postgres.wal.names import Segment
from three_backup.sources.postgres.wal.origin import cluster_at

SEGMENTS = 64
BATCH = 8
_SIZE = 16 << 20
_PEERS = {
    "zstd 1": "--compress-type=zst --compress-level=1",
    "zstd 3": "--compress-type=zst --compress-level=3",
    "its default, gzip 6": "--compress-type=gz --compress-level=6",
}
_SETTINGS = (
    "alter system set archive_command = ''",  # segments stay ready: the benchmark hands them over
    "alter system set wal_keep_size = '4GB'",
    "alter system set summarize_wal = off",
    "select pg_reload_conf()",
)
_LOGGED = """
insert into logged select i, 'customer ' || i % 5000, md5(i::text), now() + i * interval '1 s'
  from generate_series(1, 50000) i
"""
_CHANGED = "update logged set note = md5(note) where id % 7 = 0"


def run(plan: Plan) -> None:
    segments = plan.scaled(SEGMENTS, BATCH) // BATCH * BATCH
    with cluster(plan.folder) as made:
        made.execute(*_SETTINGS)
        names = _log(made, segments)
        made.find_peer(in_s3=True)
        log, peer = _Log(made, names), (f"{NAME}, {next(iter(_PEERS))}",)
        title, wall = f"WAL, {segments} segments", Bar("wall", None, peer)
        bars = (Bar("CPU", 2, peer), wall)
        compare(f"{title} in batches of {BATCH}", plan.runs, log.runs(log.push, BATCH), bars)
        bars = (Bar("CPU", 1, peer), wall)
        compare(f"{title} at once, pulled", plan.runs, log.runs(log.pull, segments), bars)


def _log(made: Cluster, segments: int) -> list[str]:
    """Have the server fill segments; return their names."""
    made.execute(
        "create table logged (id int, customer text, note text, at timestamptz)",
        "create index on logged (note)",
        "select pg_switch_wal()",
    )
    pg_wal = made.server.pgdata / "pg_wal"
    before = {path.name for path in (pg_wal / "archive_status").iterdir()}
    while True:
        made.execute(_LOGGED, _CHANGED, "checkpoint")
        found = sorted((pg_wal / "archive_status").glob("*.ready"))
        names = [path.stem for path in found if path.name not in before]
        if len(names) >= segments:
            break
    for path in found:
        path.unlink()
    return names[:segments]


class _Log:
    """The segments to archive, and one method for each way of archiving them."""

    def __init__(self, made: Cluster, names: Sequence[str]) -> None:
        self._made, self._names = made, names
        self._pg_wal = made.server.pgdata / "pg_wal"
        self._ours = made.tools_by_tls(s3_prefix="ours", wal="pull")
        self._at_level_3 = made.tools_by_tls(s3_prefix="ours", wal="pull", compression_level=3)
        carrier = cluster_at(made.server.pgdata)
        assert carrier is not None
        self._archive = WalArchive(made.store("ours"), carrier)

    def runs(self, ours: Callable[[Tools], Cost], batch: int) -> dict[str, Run]:
        runs: dict[str, Run] = {
            OURS: partial(ours, self._ours),
            f"{OURS}, zstd 3": partial(ours, self._at_level_3),
        }
        if self._made.peer is not None:
            for told, options in _PEERS.items():
                runs[f"{NAME}, {told}"] = partial(self._theirs, self._made.peer, options, batch)
        return runs

    def push(self, tools: Tools) -> Cost:
        """Hand over the first segment of a batch, then the others, as the server does."""
        self._forget(tools)
        return tools.cost(self._handed_over("tb-wal push {path}", BATCH)).of_size(self._stored())

    def pull(self, tools: Tools) -> Cost:
        """Pull from where the first segment begins."""
        self._forget(tools)
        first = Segment.parse(self._names[0], _SIZE)
        assert first is not None
        self._archive.note_reached(Reached(1, first.start, datetime.now(UTC), _SIZE))
        return tools.cost("tb-wal pull").of_size(self._stored())

    def _theirs(self, peer: PgBackRest, options: str, batch: int) -> Cost:
        """Run what the first call of a batch leaves in the background, then its calls."""
        store = self._made.store("pgbackrest/archive/bench/17-1")
        store.delete_folder("")
        shutil.rmtree(self._made.folder / "peer/spool", ignore_errors=True)
        program = f"{peer.program} {options} --archive-async"
        line = self._handed_over(
            f"{program} archive-push {{path}}",
            batch,
            f"{program} archive-push:async {self._pg_wal}",
        )
        cost = peer.shell(line)
        return cost.of_size(sum(key.size for key in store.all_keys("")))

    def _handed_over(self, call: str, batch: int, before: str = "true") -> str:
        """Return a script that hands over the segments, so many waiting at a time."""
        ready, lines = self._pg_wal / "archive_status", ["set -e"]
        for start in range(0, len(self._names), batch):
            names = self._names[start : start + batch]
            waiting = " ".join(f"{ready}/{name}.ready" for name in names)
            lines += [f"touch {waiting}", before]
            for name in names:
                lines += [call.format(path=self._pg_wal / name), f"rm {ready}/{name}.ready"]
        return "\n".join(lines)

    def _forget(self, tools: Tools) -> None:
        """Make it the first time again."""
        self._archive.store.delete_folder("")
        shutil.rmtree(tools.local, ignore_errors=True)

    def _stored(self) -> int:
        return sum(piece.stored for piece in self._archive.pieces())
