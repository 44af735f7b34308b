"""Update one per cent of the rows of a cluster that was filled for a benchmark."""

from collections.abc import Mapping
from itertools import count

from tests.bench.cluster import Cluster

_UPDATES = (
    "update pgbench_accounts set abalance = abalance + 1 where {accounts}",
    "update documents set body = replace(body, 'id', 'no') where {documents}",
)
_CLUSTERED = {
    "accounts": "(aid - 1) * 100 / {rows} = {turn}",
    "documents": "(id - 1) * 100 / {documents} = {turn}",
}
_SCATTERED = {"accounts": "aid % 100 = {turn}", "documents": "id % 100 = {turn}"}


class Updates:
    """Update other rows in every turn: rows once updated lie together from then on.

    accounts, documents: as the cluster was filled.
    """

    def __init__(self, made: Cluster, accounts: int, documents: int) -> None:
        self._made = made
        self._sizes = {"rows": accounts * 100_000, "documents": documents}
        self._turns = count()

    def clustered(self) -> None:
        self._update(_CLUSTERED)

    def scattered(self) -> None:
        self._update(_SCATTERED)

    def _update(self, conditions: Mapping[str, str]) -> None:
        turn = next(self._turns) % 100
        rows = {
            table: where.format(turn=turn, **self._sizes) for table, where in conditions.items()
        }
        self._made.execute(*(update.format(**rows) for update in _UPDATES), "checkpoint")
