"""A point that a silent source was not rid of is removed by the next run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from three_backup.catalog.catalog import Catalog
from three_backup.errors import SilentError
from three_backup.keeping.points import PointKeeping
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.model.storage import Storage
from three_backup.sources.base import PointSource
from three_backup.sources.jobs import SnapshotJob

CARRIER = Carrier("lxd/container/default/default/web")


class Hanging:
    """A source that makes a point, and then says nothing any more until it is well again."""

    def __init__(self) -> None:
        self.there: dict[SnapshotId, str] = {}
        self.well = False

    def take(self, job: SnapshotJob) -> None:
        self.there[job.snapshot] = "guid"
        raise SilentError("server.silent", "lxc query showed no sign of life")

    def remove(self, _carrier: Carrier, snapshot: SnapshotId) -> None:
        if not self.well:
            raise SilentError("server.silent", "lxc query showed no sign of life")
        del self.there[snapshot]

    def points(self, _carrier: Carrier) -> Mapping[SnapshotId, str]:
        return self.there


def test_a_point_that_a_silent_source_kept_is_removed_by_the_next_run(tmp_path: Path) -> None:
    source, catalog = Hanging(), Catalog(Storage(tmp_path))
    keeping = PointKeeping(cast(PointSource, source))
    snapshot = SnapshotId.parse("20261101T030000Z-base")
    assert snapshot is not None
    job = cast(Any, type("Job", (), {"carrier": CARRIER, "snapshot": snapshot}))
    with pytest.raises(SilentError):
        keeping.take(catalog, job)
    assert source.there
    with pytest.raises(SilentError):  # it is still there, and still hangs
        keeping.known(catalog, CARRIER, (), print)
    source.well = True
    keeping.known(catalog, CARRIER, (), print)
    assert source.there == {}
    assert catalog.local.unfinished(CARRIER) == []
