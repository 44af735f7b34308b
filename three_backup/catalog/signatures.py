"""Tells genuine snapshots in S3, which this host's keys signed, from foreign ones.

Anybody who may write to the bucket can put a manifest there. A manifest is read once; that it was
genuine is remembered on this host until its ETag is another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from three_backup.catalog.cache import ManifestCache
from three_backup.catalog.manifest_form import ManifestForm
from three_backup.catalog.signed_memory import SignedMemory
from three_backup.errors import BackupError, ManifestError
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.signing import Keyring
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.storage import Storage
from three_backup.s3.failures import MissingError
from three_backup.s3.store import Store

ADOPT = "tb-verify --sign adopts what is yours"


@dataclass(frozen=True, slots=True)
class Signatures:
    """The signatures of the manifests below one prefix."""

    storage: Storage
    keyring: Keyring
    cache: ManifestCache
    _foreign: dict[Carrier, frozenset[SnapshotId]] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: Storage, cache: ManifestCache) -> "Signatures | None":
        """Return them; None where they do not count."""
        keyring = storage.manifest_key
        return None if keyring is None else cls(storage, keyring, cache)

    def foreign(
        self, store: Store, carrier: Carrier, etags: Mapping[str, str]
    ) -> frozenset[SnapshotId]:
        """Return the snapshots whose manifests no key of ours signed. etags: by their names."""
        if carrier not in self._foreign:
            self._foreign[carrier] = self._told_apart(store, carrier, etags)
        return self._foreign[carrier]

    def signed(self, key: str, body: bytes) -> bytes:
        return self.keyring.signed(body, self._place(key))

    def is_genuine(self, key: str, body: bytes) -> bool:
        return self.keyring.is_genuine(body, self._place(key))

    def check(self, key: str, body: bytes) -> None:
        """Raise ManifestError if none of our keys signed it."""
        if not self.is_genuine(key, body):
            raise ManifestError(
                "manifest.unsigned",
                f"{key}: manifest_key did not sign this manifest",
                "find out who writes to the bucket; --unsigned restores it all the same",
            )

    def adopt(self, store: Store, manifest: Manifest) -> None:
        """Sign a manifest in S3. Raises ManifestError if it is not the given one any more."""
        key = layout.manifest_key(manifest.carrier, manifest.snapshot)
        body = store.read(key)
        if ManifestForm(self.storage).manifest(body, key) != manifest:
            raise ManifestError(
                "manifest.changed",
                f"{key}: it was changed while its snapshot was read",
                "find out who writes to the bucket",
            )
        store.write(key, self.signed(key, body))
        self.cache.forget(manifest.carrier, manifest.snapshot)

    def _told_apart(
        self, store: Store, carrier: Carrier, etags: Mapping[str, str]
    ) -> frozenset[SnapshotId]:
        memory, subject = SignedMemory(self.storage, self.keyring), layout.path(carrier)
        before = memory.read(subject)
        if before == etags:
            return frozenset()
        snapshots = {name: found for name in etags for found in layout.snapshots_of(name)}
        genuine = {
            name: etags[name]
            for name, snapshot in snapshots.items()
            if before.get(name) == etags[name] or self._read(store, carrier, snapshot)
        }
        if genuine != before:
            memory.write(subject, genuine)
        return frozenset(found for name, found in snapshots.items() if name not in genuine)

    def _read(self, store: Store, carrier: Carrier, snapshot: SnapshotId) -> bool:
        """Return whether the manifest in S3 is genuine; then it is the one in the cache."""
        key = layout.manifest_key(carrier, snapshot)
        self.cache.forget(carrier, snapshot)
        try:
            body = store.read(key)
        except MissingError:
            return False
        if not self.is_genuine(key, body):
            return False
        self.cache.keep(carrier, snapshot, body)
        return True

    def _place(self, key: str) -> str:
        return f"{self.storage.prefix}/{key}"


def sentence_on(foreign: Iterable[SnapshotId]) -> str:
    """Say of the foreign snapshots of a carrier, at least one, that they are left alone."""
    ordered = sorted(foreign, key=lambda snapshot: snapshot.time)
    others = f" and {len(ordered) - 1} before it are" if len(ordered) > 1 else " is"
    return f"{ordered[-1]}{others} not signed by manifest_key: somebody else may have written that"


def all_unsigned(carrier: Carrier, foreign: Iterable[SnapshotId]) -> BackupError:
    """Return the error that a carrier has foreign snapshots alone."""
    return BackupError("catalog.unsigned", f"{carrier}: {sentence_on(foreign)}", ADOPT)
