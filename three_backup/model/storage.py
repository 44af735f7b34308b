"""Where the snapshots of an object lie: a folder of this host and a prefix of a bucket."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Storage:
    """The folder and the bucket that a configuration names for an object.

    endpoint: a URL; bucket: None where no bucket is configured; prefix: without slashes at its
    ends; access_key, secret_key: None leaves the choice to boto3's own chain; ca_file: the
    certificates of authorities to trust, None for those that everybody trusts; timeout: how long a
    request is repeated; foreign: the prefix is another host's, which is read and never written,
    and local_dir holds no snapshot of it.
    """

    local_dir: Path
    endpoint: str | None = None
    bucket: str | None = None
    prefix: str = ""
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    addressing_style: str = "path"
    storage_class: str | None = None
    ca_file: Path | None = None
    timeout: timedelta = timedelta(minutes=5)
    foreign: bool = False

    def of_another_host(self, prefix: str) -> "Storage":
        return replace(self, prefix=prefix, foreign=True)
