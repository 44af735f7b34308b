"""What encryption costs: a base of 1 GB to S3, and reading all of it there again."""

import json
import shutil
from dataclasses import dataclass, replace

from tests.bench.cluster import Cluster, cluster, fill
from tests.bench.measure import Cost
from tests.bench.report import OURS, Bar, Plan, Run, bytes_shown, compare
from tests.bench.tools import Tools

ACCOUNTS = 30
DOCUMENTS = 2_000_000
NOISE = 1_200_000
_PLAIN = "not encrypted"
_KEY = "5a" * 32
_TAKEN = "tb-discover -s postgres | tb-snapshot --base | tb-upload"
_READ = "tb-verify --read-only --json postgres"
_NOISE = """
create table noise as select i, decode(
    md5(i::text) || md5('a' || i) || md5('b' || i) || md5('c' || i), 'hex') as body
  from generate_series(1, {}) i
"""


def run(plan: Plan) -> None:
    with cluster(plan.folder) as made:
        fill(made, plan.scaled(ACCOUNTS), plan.scaled(DOCUMENTS))
        made.execute(_NOISE.format(plan.scaled(NOISE)), "vacuum", "checkpoint")
        sides = {
            OURS: _side(made, "encrypted", encryption_key=_KEY),
            _PLAIN: _side(made, "plain"),
        }
        title = f"A base of {bytes_shown(made.size())}"
        taken: dict[str, Run] = {name: side.take for name, side in sides.items()}
        bars = (Bar("CPU", 1.15, (_PLAIN,)), Bar("wall", None, (_PLAIN,)))
        compare(f"{title}, taken and uploaded", plan.runs, taken, bars)
        read: dict[str, Run] = {name: side.read for name, side in sides.items()}
        bars = (Bar("CPU", None, (_PLAIN,)), Bar("wall", None, (_PLAIN,)))
        compare(f"{title}, read and compared", plan.runs, read, bars)


@dataclass(frozen=True, slots=True)
class _Side:
    """Tools that have a key, or none, and a prefix of their own."""

    made: Cluster
    tools: Tools
    prefix: str

    def take(self) -> Cost:
        """Take and upload a base as if it were the first one. The server's CPU does not count."""
        shutil.rmtree(self.tools.local, ignore_errors=True)
        self.made.store(self.prefix).delete_folder("")
        cost = self.tools.cost(_TAKEN)
        uploaded = json.loads(cost.output.splitlines()[0])["uploaded"]
        return replace(cost, cpu=cost.cpu - cost.server).of_size(uploaded["bytes"])

    def read(self) -> Cost:
        """Read all that was stored, as on a new host."""
        shutil.rmtree(self.tools.local, ignore_errors=True)
        return self.tools.cost(_READ)


def _side(made: Cluster, prefix: str, **options: object) -> _Side:
    return _Side(made, made.tools_with(s3_prefix=prefix, **options), prefix)
