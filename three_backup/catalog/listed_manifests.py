"""The manifests in S3, as a listing tells them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import SnapshotId
from three_backup.s3.store import Store


class Listed(NamedTuple):
    """The manifests of one carrier: a snapshot costs a few characters instead of an object."""

    names: str = ""  # joined by slashes: no name contains one, whoever wrote the key
    joined_etags: str = ""  # in the same order, each on a line; empty if they were not asked for

    @property
    def snapshots(self) -> list[SnapshotId]:
        return layout.snapshots_of(self.names)

    @property
    def etags(self) -> Mapping[str, str]:
        """The ETags by the names of manifests, and of what else lies there."""
        return dict(zip(self.names.split("/"), self.joined_etags.split("\n"), strict=True))


def everything(store: Store, *, etags: bool) -> dict[Carrier, Listed]:
    """Return the manifests of all carriers. etags: tell these, too."""
    names: dict[str, list[tuple[str, str]]] = {}
    last, found = "", []
    for key, etag in _keys(store, f"{layout.MANIFESTS}/", etags=etags):
        folder, _, name = key.rpartition("/")
        if folder != last:
            last, found = folder, names.setdefault(folder, [])
        found.append((name, etag))
    return {
        carrier: _joined(found, etags=etags)
        for folder, found in names.items()
        if (carrier := layout.carrier_of_manifests(folder))
        and any(layout.snapshots_of(name) for name, _ in found)
    }


def of_carrier(store: Store, carrier: Carrier, *, etags: bool) -> Listed:
    """Return the manifests of one carrier."""
    folder = f"{layout.manifest_folder(carrier)}/"
    keys = _keys(store, folder, etags=etags)
    names = ((key.removeprefix(folder), etag) for key, etag in keys)
    return _joined([(name, etag) for name, etag in names if "/" not in name], etags=etags)


def _keys(store: Store, folder: str, *, etags: bool) -> Iterable[tuple[str, str]]:
    return store.all_etags(folder) if etags else ((key, "") for key in store.all_names(folder))


def _joined(found: Sequence[tuple[str, str]], *, etags: bool) -> Listed:
    told = "\n".join(etag for _, etag in found) if etags else ""
    return Listed("/".join(name for name, _ in found), told)
