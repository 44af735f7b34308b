"""How manifests lie in S3: signed, and encrypted, as the storage has it."""

from dataclasses import dataclass

from three_backup.errors import ManifestError
from three_backup.model import layout
from three_backup.model.encryption import TamperedError
from three_backup.model.signing import plain
from three_backup.model.snapshots import Manifest
from three_backup.model.storage import Storage
from three_backup.model.veil import unveiled, veiled


@dataclass(frozen=True, slots=True)
class ManifestForm:
    """The form of the manifests of one storage; their signatures are put around it."""

    storage: Storage

    def body(self, manifest: Manifest) -> bytes:
        """Return the manifest as S3 shall have it, unsigned."""
        keys, body = self.storage.encryption_key, manifest.to_json()
        if keys is None or not self.storage.hides_names:
            return body
        key = layout.manifest_key(manifest.carrier, manifest.snapshot)
        return veiled(body, keys, self._place(key))

    def manifest(self, body: bytes, key: str) -> Manifest:
        """Read a manifest, signed or not. Raises ManifestError, NoKeyError."""
        keys, place = self.storage.encryption_key, self._place(key)
        try:
            return Manifest.from_json(unveiled(plain(body), keys, place, key), key)
        except TamperedError as error:
            raise ManifestError(
                "manifest.damaged",
                f"{key}: this manifest is damaged, or somebody else put it there: it cannot be "
                "decrypted",
                "restore an older snapshot; the next base replaces it",
            ) from error

    def _place(self, key: str) -> str:
        return f"{self.storage.prefix}/{key}"
