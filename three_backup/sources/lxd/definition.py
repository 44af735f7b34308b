"""Reads out of a manifest how an instance or a volume is defined. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

_OF_THE_DAEMON = "volatile."  # what it notes down by itself


def definition(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return each key of the configuration, each device, and each profile by a name of its own."""
    found = dict(_layer(facts["configuration"]))
    for profile in facts.get("profiles", ()):
        found.update(
            (f"profile {profile['name']}: {name}", value) for name, value in _layer(profile)
        )
    return found


def _layer(layer: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in layer.items():
        if name == "config":
            yield from ((key, own) for key, own in value.items() if not _is_noted(key))
        elif name == "devices":
            yield from ((f"device {device}", own) for device, own in value.items())
        elif name != "name":
            yield name, value


def _is_noted(key: str) -> bool:
    return key.startswith(_OF_THE_DAEMON)
