"""Reads extended attributes, and says in them what owners are called within a container."""

import errno
import os
import struct
from collections.abc import Iterator

from three_backup.tree.request import Owners
from three_backup.tree.walk import Entry

_ACLS = {
    "system.posix_acl_access": "SCHILY.acl.access",
    "system.posix_acl_default": "SCHILY.acl.default",
}
_CAPABILITY = "security.capability"
_ATTRIBUTE = "SCHILY.xattr."
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA, errno.EPERM)
_ACL_HEAD, _ACL_ENTRY = 4, struct.Struct("<HHI")
_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_A_USER, _A_GROUP = 0x02, 0x08
_VERSION_2, _VERSION_3, _ROOT = 0x02000000, 0x03000000, struct.Struct("<I")


def attributes(entry: Entry, owners: Owners) -> Iterator[tuple[str, bytes]]:
    """Yield the attributes of an entry by the keywords that tar has for them."""
    try:
        names = os.listxattr(entry.place, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return
        raise
    for name in sorted(names):
        value = os.getxattr(entry.place, name, follow_symlinks=False)
        if name in _ACLS:
            yield _ACLS[name], acl_text(value, owners).encode()
        elif name == _CAPABILITY:
            yield _ATTRIBUTE + name, capability(value, owners)
        else:
            yield _ATTRIBUTE + name, value


def acl_text(value: bytes, owners: Owners) -> str:
    """Return an access control list as text: `user::rw-,user:33:r--,...`."""
    entries = _ACL_ENTRY.iter_unpack(value[_ACL_HEAD:])
    return ",".join(_acl_entry(tag, rights, number, owners) for tag, rights, number in entries)


def _acl_entry(tag: int, rights: int, number: int, owners: Owners) -> str:
    named = {_A_USER: owners.user, _A_GROUP: owners.group}.get(tag)
    whose = "" if named is None else str(named(number))
    shown = "".join(
        letter if rights & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))
    )
    return f"{_TAGS[tag]}:{whose}:{shown}"


def capability(value: bytes, owners: Owners) -> bytes:
    """Return capabilities as the container's root sees them: without a root of their own."""
    magic = int.from_bytes(value[:4], "little")
    if magic & 0xFF000000 != _VERSION_3:
        return value
    (root,) = _ROOT.unpack(value[-_ROOT.size :])
    if owners.user(root) != 0:
        return value[: -_ROOT.size] + _ROOT.pack(owners.user(root))
    return (magic & 0x00FFFFFF | _VERSION_2).to_bytes(4, "little") + value[4 : -_ROOT.size]
