"""Writes YAML as people read it."""

from math import inf
from typing import Any

import yaml


def yaml_text(value: Any, style: str | None = None) -> str:
    """Return a value as a document of YAML, its keys in order. style: of all texts."""
    return yaml.safe_dump(
        value, allow_unicode=True, default_flow_style=False, default_style=style, width=inf
    )


def yaml_scalar(text: str) -> str:
    """Return a text as a value of YAML on one line, in quotes where it needs them."""
    style = None if text.isprintable() else '"'
    return yaml_text(text, style).removesuffix("...\n").rstrip("\n")
