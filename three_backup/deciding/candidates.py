"""Gathers what retention needs to know of a carrier's snapshots."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from three_backup.catalog.catalog import Catalog
from three_backup.model.objects import Carrier
from three_backup.model.retention import Candidate
from three_backup.model.schedule import host_zone, is_from_the_future
from three_backup.model.snapshots import Stored


def candidates_of(
    carrier: Carrier,
    snapshots: Sequence[Stored],
    catalog: Catalog,
    now: datetime,
    *,
    wanted: bool,
) -> list[Candidate]:
    """Return the snapshots of a carrier, as retention looks at them. wanted: in S3, too."""
    # A manifest in S3 is read only where some snapshot on this host has files never uploaded.
    apart = any(
        stored.local and _has_local_files(carrier, stored, catalog) for stored in snapshots
    )
    return [
        Candidate(
            stored,
            wanted,
            local_only=apart and _has_local_files(carrier, stored, catalog),
            lost=apart and bool(catalog.lost_files(carrier, stored)),
            ahead=is_from_the_future(stored.id.time, now),
        )
        for stored in snapshots
    ]


def held(
    candidates: Sequence[Candidate], carrier: Carrier, catalog: Catalog, now: datetime
) -> list[Candidate]:
    """Return the candidates, those that somebody holds with how long and why.

    Raises BackupError if a hold of the carrier cannot be read.
    """
    holds = catalog.holds.in_force(carrier, now)
    if not holds:
        return list(candidates)
    zone = host_zone(os.environ)
    return [
        replace(each, held=holds[each.stored.id].told(zone)) if each.stored.id in holds else each
        for each in candidates
    ]


def _has_local_files(carrier: Carrier, stored: Stored, catalog: Catalog) -> bool:
    return any(file.local_only for file in catalog.manifest(carrier, stored).files)
