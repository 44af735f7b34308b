"""Where the snapshots of an object lie: a folder of this host and a prefix of a bucket."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.model.encryption import Demand, EncryptionKeys
from three_backup.model.signing import Keyring


@dataclass(frozen=True, slots=True)
class Storage:
    """The folder and the bucket that a configuration names for an object."""

    local_dir: Path
    endpoint: str | None = None  # a URL
    bucket: str | None = None  # None: none is configured
    prefix: str = ""  # without slashes at its ends
    region: str | None = None
    # If access_key and secret_key are None, botocore searches for credentials itself.
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    addressing_style: str = "path"
    storage_class: str | None = None
    ca_file: Path | None = None  # certificates of the authorities to trust; None: the usual ones
    manifest_key: Keyring | None = None  # None: manifests are not signed
    encryption_key: EncryptionKeys | None = None  # None: what is written is not encrypted
    encrypt_names: bool = True  # with a key, manifests are encrypted, too
    encryption: Demand | None = None  # None: as if optional, but for copies of what is encrypted
    timeout: timedelta = timedelta(minutes=5)  # how long a request is repeated
    lock_days: int = 0  # how long the bucket locks what is written; 0: nothing is locked
    lock_mode: str = "governance"
    # The prefix is another host's: it is only read, and local_dir holds no snapshot of it.
    foreign: bool = False
    store: str = ""  # the name of a further store, which holds copies; empty: the first one
    asked: bool = False  # a further store that somebody asked to read: it is only read
    # The bucket is read as it was at this moment, by the versions that it keeps.
    as_of: datetime | None = None

    @property
    def read_only(self) -> bool:
        return self.foreign or self.asked or self.as_of is not None

    @property
    def hides_names(self) -> bool:
        """Whether manifests are encrypted in the bucket."""
        return self.encryption_key is not None and self.encrypt_names

    @property
    def snapshots_dir(self) -> Path:
        """The folder of snapshots on this host and of journals.

        Of a further store, and of another host's prefix, there are only journals.
        """
        folder = self.local_dir / "stores" / self.store if self.store else self.local_dir
        return folder / "prefixes" / self.prefix if self.foreign else folder

    @property
    def place(self) -> tuple[str | None, str | None, str]:
        return self.endpoint, self.bucket, self.prefix

    def is_beside(self, other: "Storage") -> bool:
        """Whether both are one place with one key, whatever is demanded of what lies there."""
        return replace(self, encryption=other.encryption, timeout=other.timeout) == other

    def of_another_host(self, prefix: str) -> "Storage":
        return replace(self, prefix=prefix, foreign=True)


def check_direct(storage: Storage, name: str) -> None:
    """Raise BackupError where a server that writes to the bucket itself may not.

    name: of the object, the carrier or the source.
    """
    if storage.encryption is Demand.REQUIRED:
        raise BackupError(
            "encryption.direct",
            f"{name}: its server writes to the bucket itself, where nothing here can encrypt it, "
            "and encryption is required",
            "encrypt it at the server or in the bucket and write encryption: optional for it, or "
            "disable: true",
        )
