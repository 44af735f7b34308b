"""The place of a bucket in the address of a request: the path, or the name of the host."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from three_backup.model.storage import Storage

_AWS = "https://s3.amazonaws.com"


def style_used(storage: Storage) -> str:
    """Return the addressing style: as configured, or `path` where a host name cannot work."""
    return "path" if why_not_virtual(storage) else storage.addressing_style


def why_not_virtual(storage: Storage) -> str | None:
    """Say why `virtual` is configured and cannot be used; None if that is not so."""
    if storage.addressing_style != "virtual":
        return None
    parts = urlsplit(storage.endpoint or _AWS)
    if _is_ip(parts.hostname or ""):
        return "an IP address has no names below it"
    if parts.scheme == "https" and "." in (storage.bucket or ""):
        return "no certificate covers a host name that begins with a bucket with dots"
    return None


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
