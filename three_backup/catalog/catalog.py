"""The catalog: the snapshots on this host and in S3, and their files from either."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from three_backup.catalog.cache import ManifestCache
from three_backup.catalog.elsewhere import has_a_copy, in_its_place, remedied, store_with
from three_backup.catalog.files import Files
from three_backup.catalog.folders import LocalStore
from three_backup.catalog.holds import Holds
from three_backup.catalog.hollow_memory import HollowMemory, filled
from three_backup.catalog.listed_manifests import Listed, everything, of_carrier
from three_backup.catalog.locks import Locks
from three_backup.catalog.manifest_form import ManifestForm
from three_backup.catalog.signatures import ADOPT, Signatures, sentence_on
from three_backup.catalog.spare import Spare
from three_backup.errors import BackupError, ConfigurationError, s3_is_away
from three_backup.host.machine import this_host
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId, Stored, chain
from three_backup.model.storage import Storage
from three_backup.s3 import ownership
from three_backup.s3.mended import Mended
from three_backup.s3.patience import Say
from three_backup.s3.spares import Spares
from three_backup.s3.store import Store

_time = attrgetter("time")


class Catalog:
    """The snapshots of one storage; S3 is contacted only when an answer needs it."""

    def __init__(
        self,
        storage: Storage,
        say: Say = lambda _: None,
        beside: "Sequence[Catalog]" = (),
        *,
        adopt: bool = False,
        unsigned: bool = False,
    ) -> None:
        """say: called with a sentence when S3 keeps us waiting. beside: of copies, which stand in
        for what is missing or damaged. adopt: see `claim`. unsigned: take snapshots that our keys
        did not sign for ours.
        """
        self.storage = storage
        self._say = say
        self._adopt = adopt
        self.local = LocalStore(storage.snapshots_dir)
        self.beside = beside
        self.mended = Mended(say)
        self.hollow = HollowMemory(storage)
        self.holds = Holds(lambda: self.s3)
        self.locks = Locks(storage, lambda: self.s3)
        self.partial = False  # S3 is left out: parents missing here may lie there
        self._everything: dict[Carrier, Listed] | None = None
        self._unlisted: BackupError | None = None
        self._cache = ManifestCache(storage)
        self._form = ManifestForm(storage)
        self._trusts_host = True
        self._signatures = Signatures.of(storage, self._cache)
        self._takes_unsigned = unsigned

    @cached_property
    def s3(self) -> Store | None:
        """The store, or None without a bucket."""
        if not self.storage.bucket:
            return None
        read_as = (
            replace(self.storage, manifest_key=None) if self._takes_unsigned else self.storage
        )
        store = Store(read_as, self._say)
        store.spares = Spares([other.bucket for other in self.beside], self.mended)
        return store

    @property
    def bucket(self) -> Store:
        """The store. Raises ConfigurationError without a bucket."""
        if self.s3 is None:
            raise ConfigurationError(
                "config.no_bucket",
                "no bucket is configured",
                'set s3_bucket and s3_endpoint under "*" in the configuration',
            )
        return self.s3

    @property
    def places(self) -> list[str]:
        """The places that are searched, in words for a person."""
        here = [f"in {self.storage.local_dir}"] if self._looks_here else []
        return here if self.s3 is None else [f"below {self.s3.place()}", *here]

    def list_everything(self) -> None:
        """Answer from one listing from now on: a request per thousand keys, not per carrier.

        Raises BackupError, and the same one in each later call.
        """
        if self._everything is not None:
            return
        if self._unlisted is not None:
            raise self._unlisted  # else each carrier would wait for S3 in turn
        try:
            self._everything = (
                everything(self.s3, etags=self._signatures is not None) if self.s3 else {}
            )
        except BackupError as error:
            self._unlisted = error
            raise

    def claim(self, *, renew: bool = True) -> None:
        """Make sure that this host, and no other, writes below the prefix; see s3.ownership.

        With adopt, take the prefix over from another host. Raises ConfigurationError.
        """
        ownership.claim(self.bucket, this_host(), adopt=self._adopt, renew=renew)

    def sign_owner(self) -> None:
        """Sign that this host owns the prefix, if it does and that was not signed."""
        ownership.sign(Store(self.storage, self._say), this_host())

    def without_s3(self, error: BackupError) -> "Catalog":
        """Return a catalog of this host's snapshots alone, for while S3 is away.

        Raises the error if it says something else, or if the storage is only read.
        """
        if self.storage.read_only or not s3_is_away(error):
            raise error
        catalog = Catalog(replace(self.storage, bucket=None), self._say)
        catalog.partial = True
        return catalog

    def leave_out_local(self) -> None:
        """Answer from S3 alone from now on, and read its manifests anew.

        On this host only files that are never uploaded are still read.
        """
        self._trusts_host = False

    def snapshots(self, carrier: Carrier) -> list[Stored]:
        """Return the carrier's snapshots, oldest first."""
        local = set(self.local.snapshots(carrier)) if self._looks_here else set()
        remote = sorted(self._remote(carrier), key=_time)
        if not local:
            return [Stored(snapshot, local=False, s3=True) for snapshot in remote]
        there = set(remote)
        ordered = sorted(local | there, key=_time)
        return [
            Stored(snapshot, local=snapshot in local, s3=snapshot in there) for snapshot in ordered
        ]

    def foreign(self, carrier: Carrier) -> frozenset[SnapshotId]:
        """Return the carrier's snapshots in S3 that are not signed, where signatures count."""
        return self._foreign(carrier, self._listed(carrier))

    def filled(self, carrier: Carrier) -> list[Stored]:
        """Return the carrier's snapshots without the copies in S3 that were found hollow."""
        return filled(self.snapshots(carrier), self.hollow.of(carrier))

    def carriers(self, source_type: str) -> list[Carrier]:
        """Return every carrier of a source that has a snapshot anywhere, sorted."""
        self.list_everything()
        remote = (
            carrier for carrier in self._everything or () if carrier.startswith(f"{source_type}/")
        )
        local = self.local.carriers(source_type) if self._looks_here else ()
        return sorted({*remote, *local})

    def manifest(self, carrier: Carrier, stored: Stored) -> Manifest:
        """Read the manifest from this host, else from the cache, else from S3."""
        if stored.local:
            return self.local.manifest(carrier, stored.id)
        return self._remote_manifest(carrier, stored.id)

    def has_at_hand(self, carrier: Carrier, stored: Stored) -> bool:
        """Return whether reading the manifest takes no request to S3."""
        return stored.local or (self._trusts_cache and self._cache.holds(carrier, stored.id))

    def files(self, carrier: Carrier, stored: Stored) -> Files:
        remote = self._remote_manifest(carrier, stored.id) if stored.s3 else None
        local = self.local.manifest(carrier, stored.id) if stored.local else None
        directory, spares = self.local.directory(carrier, stored.id), map(Spare, self.beside)
        return Files(local, directory, remote, self.s3, list(spares), self.mended)

    def lost(self, carrier: Carrier, snapshots: Sequence[Stored], last: SnapshotId) -> str | None:
        """Name a never-uploaded file that last needs and this host has lost, in a sentence.

        None if there is none. last needs its own files and those of every snapshot it builds on.
        """
        links = chain((snapshot.id for snapshot in snapshots), last) or (last,)
        for stored in (snapshot for snapshot in snapshots if snapshot.id in links):
            for name in self.lost_files(carrier, stored):
                return f"{name} of {stored.id} is gone from this host"
        return None

    def lost_files(self, carrier: Carrier, stored: Stored) -> list[str]:
        """Return the snapshot's never-uploaded files that this host lacks or has incomplete."""
        directory = self.local.directory(carrier, stored.id)
        return [
            file.name
            for file in self.manifest(carrier, stored).files
            if file.local_only and not _is_whole(directory / file.name, file.size)
        ]

    def write_manifest(self, manifest: Manifest) -> int:
        """Write a manifest to S3, by which its snapshot is complete; return its bytes."""
        key = layout.manifest_key(manifest.carrier, manifest.snapshot)
        body = self._signed(key, self._form.body(manifest))
        self.bucket.write(key, body)
        return len(body)

    def sign(self, manifest: Manifest) -> None:
        """Adopt a snapshot in S3 that was verified. Raises ManifestError if it changed since."""
        if self._signatures is not None:
            self._signatures.adopt(self.bucket, manifest)

    def forget_cached(self, carrier: Carrier, snapshot: SnapshotId) -> None:
        self._cache.forget(carrier, snapshot)

    def _signed(self, key: str, body: bytes) -> bytes:
        return body if self._signatures is None else self._signatures.signed(key, body)

    @property
    def _looks_here(self) -> bool:
        return self._trusts_host and not self.storage.read_only

    @property
    def _trusts_cache(self) -> bool:
        return self._trusts_host and not (self._takes_unsigned or self.storage.as_of)

    def _remote(self, carrier: Carrier) -> list[SnapshotId]:
        listed = self._listed(carrier)
        found = listed.snapshots
        if self._takes_unsigned or not found:
            return found
        foreign = self._foreign(carrier, listed)
        if not foreign:
            return found
        newest = max(foreign, key=_time)
        store = store_with(self.beside, carrier, newest)
        self._say(f"{carrier}: {sentence_on(foreign)}; {has_a_copy(store) if store else ADOPT}")
        return [snapshot for snapshot in found if snapshot not in foreign]

    def _listed(self, carrier: Carrier) -> Listed:
        if self.s3 is None:
            return Listed()
        if self._everything is not None:
            return self._everything.get(carrier, Listed())
        return of_carrier(self.s3, carrier, etags=self._signatures is not None)

    def _foreign(self, carrier: Carrier, listed: Listed) -> frozenset[SnapshotId]:
        if self._signatures is None or not listed.names:
            return frozenset()
        return self._signatures.foreign(self.bucket, carrier, listed.etags)

    def _remote_manifest(self, carrier: Carrier, snapshot: SnapshotId) -> Manifest:
        cached = self._cache.read(carrier, snapshot) if self._trusts_cache else None
        if cached is not None:
            return cached
        key = layout.manifest_key(carrier, snapshot)
        with remedied(self.beside, carrier, snapshot):
            body = self.bucket.read(key)
            if self._signatures is not None and not self._takes_unsigned:
                self._signatures.check(key, body)
            manifest = in_its_place(self._form.manifest(body, key), key, carrier, snapshot)
        if not self._takes_unsigned:  # what is cached passes for genuine
            self._cache.keep(carrier, snapshot, body)
        return manifest


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
