"""The root disk of a restored instance is what it was, whichever way it had it."""

from typing import Any

import pytest

from three_backup.sources.lxd.targets.devices import NONE
from three_backup.sources.lxd.targets.root_disk import differences, restored, unsized

ROOT = {"type": "disk", "path": "/", "pool": "default"}
SIZED = {**ROOT, "size": "1GiB", "size.state": "2GiB", "limits.read": "1MB"}
NIC = {"type": "nic", "network": "lxdbr0"}

Devices = dict[str, dict[str, str]]


def facts(own: Devices, **profiles: Devices) -> dict[str, Any]:
    """Return the facts of a manifest. profiles: the devices of each, in their order."""
    expanded = {name: spec for devices in profiles.values() for name, spec in devices.items()}
    return {
        "configuration": {"devices": own, "profiles": list(profiles)},
        "expanded_devices": {**expanded, **own},
        "profiles": [{"name": name, "devices": devices} for name, devices in profiles.items()],
    }


BASE = {"default": {"root": ROOT}}
BIG = {"big": {"root": SIZED}}
CASES: dict[str, tuple[dict[str, Any], list[str], Devices, str, Devices]] = {
    # What was; profiles that are left; devices of those here; the pool; what is added.
    "of a profile": (facts({}, **BASE), ["default"], BASE["default"], "default", {}),
    "of a profile that was changed": (
        *(facts({}, **BIG), ["big"], BASE["default"], "default"),
        {},
    ),
    "of a profile that names it anew": (
        *(facts({}, **BIG), ["big"], {"disk0": ROOT}, "default"),
        {},
    ),
    "of the last of two profiles, which is missing": (
        *(facts({}, **BASE, **BIG), ["default"], BASE["default"], "default"),
        {"root": SIZED},
    ),
    "of the only profile, which is missing": (
        *(facts({}, **BIG), [], {}, "default"),
        {"root": SIZED},
    ),
    "of a profile, into another pool": (
        *(facts({}, **BIG), ["big"], BIG["big"], "fast"),
        {"root": {**SIZED, "pool": "fast"}},
    ),
    "of a profile in another pool here": (
        *(facts({}, **BIG), ["big"], {"root": {**SIZED, "pool": "slow"}}, "default"),
        {"root": SIZED},
    ),
    "its own": (facts({"disk0": SIZED}), [], {}, "default", {"disk0": SIZED}),
    "its own, into another pool": (
        *(facts({"disk0": SIZED}, other={"eth0": NIC}), ["other"], {"eth0": NIC}, "fast"),
        {"disk0": {**SIZED, "pool": "fast"}},
    ),
    "an override": (
        *(facts({"root": SIZED}, **BASE), ["default"], BASE["default"], "default"),
        {"root": SIZED},
    ),
    "its own, where a profile has one by now": (
        *(facts({"disk0": SIZED}, default={}), ["default"], BASE["default"], "default"),
        {"root": NONE, "disk0": SIZED},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_root_disk_is_found_again(case: str) -> None:
    was, left, here, pool, added = CASES[case]
    kept = {"devices": was["configuration"]["devices"], "profiles": left}
    assert restored(kept, was, here, pool) == added


def test_it_is_made_under_its_name_and_gets_its_size_last() -> None:
    devices = {"eth0": NIC, "disk0": SIZED}
    assert unsized(devices, "fast") == {"disk0": {**ROOT, "limits.read": "1MB", "pool": "fast"}}
    assert unsized({"root": NONE}, "fast") == {"root": {**ROOT, "pool": "fast"}}


def test_what_a_profile_gives_otherwise_than_before_is_told() -> None:
    was = facts({}, **BIG)
    assert differences(was, {"disk0": {**SIZED, "pool": "fast"}}) == []
    assert differences(was, {"root": {**SIZED, "size": "2GiB", "limits.read": ""}}) == [
        "limits.read was 1MB, is ",
        "size was 1GiB, is 2GiB",
    ]
    assert "size was 1GiB, is unset" in differences(was, {"root": ROOT})
