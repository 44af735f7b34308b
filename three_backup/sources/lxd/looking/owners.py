"""Reads out of a configuration what the owners of files are called within a container. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from three_backup.sources.lxd.daemon import names
from three_backup.tree.request import Owners, Range

_NOTED = {names.VOLUME: "volatile.idmap.last"}
_OF_INSTANCES = "volatile.last_state.idmap"
"""The keys under which a daemon notes how it changed the owners on disk, by subtype. Where the
kernel maps them at each mount it notes that it changed none."""


def owners(subtype: str, configuration: Mapping[str, Any]) -> Owners:
    noted = configuration["config"].get(_NOTED.get(subtype, _OF_INSTANCES)) or "[]"
    return Owners([_range(entry) for entry in json.loads(noted) or ()])


def _range(entry: Mapping[str, Any]) -> Range:
    return Range(entry["Isuid"], entry["Isgid"], entry["Hostid"], entry["Nsid"], entry["Maprange"])
