"""Tells of secrets in a configuration that are stored with it where somebody could read them."""

import re
from collections.abc import Mapping
from typing import Any

from three_backup.model.storage import Storage

_SECRET = re.compile(r"environment\..*|cloud-init\..*|user\.(?:user|vendor|meta|network)-.*")


def warning(described: Mapping[str, Any], storage: Storage) -> str:
    """Return a sentence on what may be secret; empty if nothing is, or if S3 has it encrypted."""
    configs = [described["configuration"], *described.get("profiles", ())]
    found = sorted({key for layer in configs for key in layer["config"] if _SECRET.fullmatch(key)})
    if not found or storage.hides_names:
        return ""
    return (
        f"{', '.join(found)} may hold secrets, which are stored with it, readable to whoever "
        f"reads {'the bucket' if storage.bucket else storage.local_dir}"
    )
