"""Writes YAML as people read it."""

from math import inf
from typing import Any

import yaml


def yaml_text(value: Any) -> str:
    """Return a value as a document of YAML, its keys in order."""
    return yaml.safe_dump(value, allow_unicode=True, default_flow_style=False, width=inf)
