"""Parse listings faster than botocore, which takes 0.1 ms per key, for half a million keys."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_OPENED, _CLOSED = b"<Contents>", b"</Contents>"
_KEY = re.compile("<Key>([^<]*)</Key>")
_SIZE = re.compile("<Size>([0-9]+)</Size>")
_MODIFIED = re.compile("<LastModified>([^<]*Z)</LastModified>")
_ETAG = re.compile("<ETag>([^<]*)</ETag>")
_CONTENTS = "Contents"


class ListedKey(NamedTuple):
    """One key of a listing."""

    key: str
    size: int  # bytes
    modified: datetime  # aware, by the server's clock


def read_plainly(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Take the keys out of an answer to ListObjectsV2 before botocore parses it.

    An answer that is not spelt as all known servers spell it is left to botocore.
    """
    body: bytes = response_dict["body"]
    begin, end = body.find(_OPENED), body.rfind(_CLOSED) + len(_CLOSED)
    if response_dict["status_code"] != 200 or not 0 <= begin < end:
        return
    try:
        contents = _Contents(body[begin:end].decode(), body.count(_OPENED))
    except ValueError:
        return
    response_dict["body"] = body[:begin] + body[end:]
    customized_response_dict[_CONTENTS] = contents


def keys(answer: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys of an answer to ListObjectsV2, whether we or botocore parsed it."""
    contents = answer.get(_CONTENTS, ())
    if isinstance(contents, _Contents):
        return contents.keys
    return [found["Key"] for found in contents]


def etags(answer: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return the keys of an answer to ListObjectsV2, each with what changes when it is rewritten.

    That is the ETag; where a server tells none, size and time have to do.
    """
    contents = answer.get(_CONTENTS, ())
    if isinstance(contents, _Contents):
        found = contents.etags()
    else:
        found = [entry["ETag"] for entry in contents if "ETag" in entry]
    names = keys(answer)
    if len(found) != len(names):
        found = [f"{entry.size} {entry.modified}" for entry in entries(answer)]
    return list(zip(names, found, strict=True))


def entries(answer: Mapping[str, Any]) -> Sequence[ListedKey]:
    """Return the keys of an answer to ListObjectsV2 with their sizes and times.

    Raises botocore's ResponseParserError if the answer is malformed.
    """
    contents = answer.get(_CONTENTS, ())
    if isinstance(contents, _Contents):
        return contents.entries()
    return [ListedKey(found["Key"], found["Size"], found["LastModified"]) for found in contents]


class _Contents:
    """The entries of one answer, still as XML; sizes and times are parsed only on demand.

    All keys are searched for at once, which takes half the time of a search entry by entry.
    """

    def __init__(self, text: str, count: int) -> None:
        """Raise ValueError if text has not exactly count keys, or anything but keys."""
        found = _KEY.findall(text)
        if len(found) != count or "<CommonPrefixes>" in text:
            raise ValueError("an entry of no key, or of several, or no entry at all")
        self.keys: list[str] = _unescaped(found) if "&" in text else found
        self._text = text

    def etags(self) -> list[str]:
        return _ETAG.findall(self._text)

    def entries(self) -> list[ListedKey]:
        sizes = map(int, _SIZE.findall(self._text))
        times = map(datetime.fromisoformat, _MODIFIED.findall(self._text))
        try:
            return [ListedKey(*columns) for columns in zip(self.keys, sizes, times, strict=True)]
        except ValueError:
            return [_unusual(entry) for entry in _parsed(f"<all>{self._text}</all>")]


def _unescaped(keys: list[str]) -> list[str]:
    from html import unescape

    return list(map(unescape, keys))


def _parsed(text: str) -> "Element":
    from xml.etree import ElementTree

    try:
        return ElementTree.fromstring(text)  # noqa: S314 - amid an element no entity is declared
    except ElementTree.ParseError as error:
        raise _not_xml(error) from error


def _unusual(entry: "Element") -> ListedKey:
    from botocore.utils import parse_timestamp  # type: ignore[import-untyped]

    found = {field.tag: (field.text or "").strip() for field in entry}
    try:
        modified = parse_timestamp(found["LastModified"])
        return ListedKey(entry.findtext("Key", ""), int(found["Size"]), modified)
    except (KeyError, ValueError) as error:
        raise _not_xml(error) from error


def _not_xml(error: Exception) -> Exception:
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

    failure: Exception = ResponseParserError(f"a list of keys that cannot be read: {error}")
    return failure
