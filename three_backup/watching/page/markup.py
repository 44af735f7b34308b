"""HTML and SVG as values: whatever text becomes part of an element is escaped there."""

import re
from collections.abc import Iterable
from html import escape

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that are not shown, or that turn the text around them: a name may hold any."""

_VOID = frozenset({"link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element. Content that is no Markup is text; an attribute that is None is left out.

    `_` in the name of an attribute stands for a hyphen, one at its end for nothing: class_.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else escaped(part) for part in parts))


def escaped(text: str) -> str:
    """Return the text as HTML; what is invisible in it is spelled out, such as `\\u202e`."""
    return escape(_INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
