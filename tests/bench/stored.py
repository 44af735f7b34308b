"""A chain of snapshots in S3, ours and the peer's of the same moments, to restore from by TLS."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cluster import Cluster, cluster, fill
from tests.bench.measure import Cost
from tests.bench.updates import Updates

INCREMENTALS = 3  # of a chain, where nothing else is said


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment that both sides have stored."""

    snapshot: str  # the id of ours
    label: str  # the name of the peer's; empty without a peer


class Stored:
    """A cluster and its chain of snapshots."""

    def __init__(self, made: Cluster, accounts: int, documents: int) -> None:
        """accounts, documents: as the cluster is filled."""
        self.made = made
        self.tools = made.tools_by_tls()
        self._updates = Updates(made, accounts, documents)

    def base(self) -> Moment:
        return self._take("base", "full")

    def extend(self, incrementals: int = INCREMENTALS) -> Moment:
        """Take so many incrementals, each after one per cent of the rows was updated: rows that
        lie together, then scattered ones, in turn. Return the moment of the last one."""
        for number in range(incrementals - 1):
            self._update(number)
            self._take("incremental", "incr")
        self._update(incrementals - 1)
        return self._take("incremental", "incr")

    def forget(self) -> None:
        """Leave nothing of the snapshots but what is in S3."""
        shutil.rmtree(self.tools.local, ignore_errors=True)
        settle()

    def restore(self, arguments: str) -> Cost:
        """Restore out of S3 alone."""
        self.forget()
        return self.tools.cost(f"tb-restore {arguments}")

    def _update(self, number: int) -> None:
        (self._updates.clustered, self._updates.scattered)[number % 2]()

    def _take(self, ours: str, theirs: str) -> Moment:
        taken = self.tools.cost(f"tb-discover -s postgres | tb-snapshot --{ours} | tb-upload")
        snapshot = json.loads(taken.output.splitlines()[0])["snapshot"]["id"]
        if self.made.peer is None:
            return Moment(snapshot, "")
        self.made.theirs(theirs)
        return Moment(snapshot, self.made.peer.newest())


def settle() -> None:
    """Write out what others left in the page cache: it shall not weigh on what comes next."""
    os.sync()


@contextmanager
def stored(
    folder: Path, accounts: int, documents: int, version: int = 17, *, beside_peer: bool = False
) -> Iterator[Stored]:
    """A filled cluster, of which nothing is stored yet."""
    with cluster(folder, version) as made:
        fill(made, accounts, documents)
        if beside_peer:
            made.find_peer(in_s3=True)
        yield Stored(made, accounts, documents)
