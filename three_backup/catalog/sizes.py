"""Remembers on this host how many bytes each snapshot stores: there are too many manifests to read
all of them at each look, and none of them ever changes."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from three_backup.catalog.cache import folder_of
from three_backup.catalog.catalog import Catalog
from three_backup.errors import BackupError, s3_is_away
from three_backup.host.durable import write_durably
from three_backup.model.dependencies import Place
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, Stored

_VERSION = 1
_MANIFESTS, _REQUESTS = 20_000, 200
"""The most manifests that one look reads, and how many of these from S3: seconds at most."""


class SizeMemory:
    """The bytes of the snapshots of one storage; each look adds some, until all are known."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._path = folder_of(catalog.storage) / "sizes.json"
        self._known = self._read()
        self._is_new = False  # something that is known is not written down
        self._manifests, self._requests = _MANIFESTS, _REQUESTS

    def stored(self, carrier: Carrier, snapshots: Sequence[Stored]) -> Mapping[Place, int] | None:
        """Return the bytes of all of the snapshots by place; None while some are unknown.

        snapshots: all of the carrier; what is known of others is forgotten.
        """
        before, known = self._known.get(carrier, {}), dict[str, list[int]]()
        sums = dict.fromkeys(Place, 0)
        for stored in snapshots:
            name = str(stored.id)
            size = before.get(name) or self._size(carrier, stored)
            if size is not None:
                known[name] = size
                sums[Place.LOCAL] += size[0] if stored.local else 0
                sums[Place.S3] += size[1] if stored.s3 else 0
        self._known[carrier] = known
        self._is_new |= known != before
        return sums if len(known) == len(snapshots) else None

    def remember(self) -> None:
        """Write down what is new, if that can be done: it is dispensable."""
        if not self._is_new:
            return
        types = {carrier.type for carrier in self._known}
        present = {carrier for each in types for carrier in self._catalog.carriers(each)}
        known = {carrier: sizes for carrier, sizes in self._known.items() if carrier in present}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            body = json.dumps({"v": _VERSION, "carriers": known}, separators=(",", ":"))
            write_durably(self._path, body.encode() + b"\n")

    def _size(self, carrier: Carrier, stored: Stored) -> list[int] | None:
        """Return the bytes of a snapshot on this host, and of what of it goes to S3."""
        if not self._may_read(carrier, stored):
            return None
        try:
            return _sizes(self._catalog.manifest(carrier, stored))
        except BackupError as error:  # how everything stands says so
            self._requests = 0 if s3_is_away(error) else self._requests
            return None

    def _may_read(self, carrier: Carrier, stored: Stored) -> bool:
        if not self._manifests:
            return False
        if not self._catalog.has_at_hand(carrier, stored):
            if not self._requests:
                return False
            self._requests -= 1
        self._manifests -= 1
        return True

    def _read(self) -> dict[Carrier, dict[str, list[int]]]:
        try:
            fields = json.loads(self._path.read_bytes())
            return _checked(fields["carriers"]) if fields["v"] == _VERSION else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # it is dispensable


def _sizes(manifest: Manifest) -> list[int]:
    stays = sum(file.size for file in manifest.files if file.local_only)
    return [manifest.stored_size, manifest.stored_size - stays]


def _checked(carriers: Mapping[str, Any]) -> dict[Carrier, dict[str, list[int]]]:
    return {
        Carrier(carrier): {name: [int(here), int(there)] for name, (here, there) in sizes.items()}
        for carrier, sizes in carriers.items()
    }
