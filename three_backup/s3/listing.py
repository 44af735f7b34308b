"""Reads lists of keys: botocore takes a tenth of a millisecond for a key, and there may be half a
million."""

import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from typing import Any

_OPENED, _CLOSED = b"<Contents>", b"</Contents>"
_FIELDS = {
    name: re.compile(rb"<%s>([^<]*)</%s>" % (name.encode(), name.encode()))
    for name in ("Key", "LastModified", "Size")
}
# Most servers spell an entry so: to look once is faster than to look for each field.
_USUAL = re.compile(
    rb"<Key>([^<&]*)</Key>\s*<LastModified>([^<]*)</LastModified>\s*(?:<ETag>[^<]*</ETag>\s*)?"
    rb"<Size>([^<]*)</Size>(?!.*<(?:Key|Size|LastModified)>)",
    re.DOTALL,
)


def read_plainly(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Take the keys out of an answer to ListObjectsV2 before botocore parses it, if it spells them
    as every server known does; else botocore reads them as well."""
    head, *entries = response_dict["body"].split(_OPENED)
    if response_dict["status_code"] != 200 or not entries:
        return
    try:
        contents, rest = zip(*map(_entry, entries), strict=True)
    except ValueError:
        return
    response_dict["body"] = b"".join((head, *rest))
    customized_response_dict["Contents"] = contents


def _entry(entry: bytes) -> tuple[dict[str, Any], bytes]:
    """A key with what is known of it, and what follows. Raises ValueError where it is unusual."""
    fields, closed, after = entry.partition(_CLOSED)
    if not closed:
        raise ValueError("a list within a list")
    usual = _USUAL.match(fields)
    key, modified, size = map(bytes.decode, usual.groups()) if usual else _values(fields)
    time = datetime.fromisoformat(modified)
    if time.tzinfo is None:
        raise ValueError("a time of no zone")
    return {"Key": key, "Size": int(size), "LastModified": time}, after


def _values(fields: bytes) -> Iterator[str]:
    for field in _FIELDS.values():
        found = field.findall(fields)
        if len(found) != 1:
            raise ValueError("a field that is missing, or spelled in an unusual way")
        value = found[0].decode()
        yield unescape(value) if "&" in value else value
