"""A restored instance is configured as it was, except for what this host lacks."""

from typing import Any

import pytest

from three_backup.sources.lxd.targets.devices import Here
from three_backup.sources.lxd.targets.instance_configuration import (
    given_away,
    low_level,
    merged,
    missing,
    rehearsal,
    restored,
    with_own,
    without_stranded,
)

ROOT = {"type": "disk", "path": "/", "pool": "default"}
NIC = {"type": "nic", "network": "lxdbr0"}
DATA = {"type": "disk", "path": "/data", "pool": "default", "source": "data"}
DEFAULT: dict[str, Any] = {"name": "default", "config": {}, "devices": {"root": ROOT}}
HERE = Here(
    "default",
    {"default": DEFAULT},
    networks=frozenset({"lxdbr0"}),
    volumes=frozenset({("default", "data")}),
    paths=frozenset({"/srv/there"}),
)
BARE = Here("fast", {"default": {**DEFAULT, "devices": {}}})


def stored(**changes: Any) -> dict[str, Any]:
    return {
        "architecture": "x86_64",
        "config": {
            "limits.memory": "200MiB",
            "user.note": "kept",
            "volatile.uuid": "1-2-3",
            "volatile.eth0.hwaddr": "00:16:3e:00:00:01",
            "volatile.eth0.host_name": "veth1",
            "volatile.cloud-init.instance-id": "4-5-6",
            "volatile.idmap.base": "0",
            "volatile.idmap.next": "[]",
            "volatile.last_state.idmap": "[{}]",
            "volatile.last_state.power": "RUNNING",
            "volatile.apply_template": "create",
        },
        "description": "",
        "devices": {"eth0": NIC, "data": DATA},
        "ephemeral": False,
        "profiles": ["default"],
        **changes,
    }


def facts(configuration: dict[str, Any], *profiles: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a manifest, with the profiles at the time of the backup."""
    given = profiles or (DEFAULT,)
    expanded = merged("devices", configuration, {profile["name"]: profile for profile in given})
    return {"configuration": configuration, "expanded_devices": expanded, "profiles": given}


def config_of(in_place: bool) -> set[str]:
    return set(restored(facts(stored()), [], HERE, in_place=in_place)["config"])


KEPT = {"limits.memory", "user.note", "volatile.last_state.idmap"}
IDENTITY = {"volatile.uuid", "volatile.eth0.hwaddr", "volatile.cloud-init.instance-id"}


@pytest.mark.parametrize(("in_place", "keys"), [(True, KEPT | IDENTITY), (False, KEPT)])
def test_only_in_place_it_keeps_what_no_two_may_share(in_place: bool, keys: set[str]) -> None:
    assert config_of(in_place) == keys


def test_what_lxd_gave_the_new_instance_stays_its_own() -> None:
    own = {"volatile.idmap.base": "7", "volatile.uuid": "new", "user.mark": "x"}
    assert with_own(stored(config={"a": "b"}), own)["config"] == {
        "a": "b",
        "volatile.idmap.base": "7",
    }


def test_nothing_is_missing_where_everything_is() -> None:
    assert missing(stored(), HERE) == []
    assert restored(facts(stored()), [], HERE, in_place=True)["devices"] == stored()["devices"]


def test_all_that_is_missing_is_named_and_nothing_else_left_out() -> None:
    limits = {"type": "unix-char", "source": "/dev/kvm", "required": "false"}
    configuration = stored(
        devices={"eth0": NIC, "data": DATA, "kvm": limits}, profiles=["default", "web"]
    )
    lacking = missing(configuration, BARE)
    assert [absent.what for absent in lacking] == [
        "profile web",
        "network lxdbr0",
        "volume data of pool default",
    ]
    left = restored(facts(configuration), lacking, BARE, in_place=True)
    assert left["profiles"] == ["default"]
    assert left["devices"] == {"kvm": limits, "root": {**ROOT, "pool": "fast"}}


def test_a_path_that_the_host_lacks_is_named_and_left_out() -> None:
    there = {"type": "disk", "source": "/srv/there", "path": "/a"}
    gone = {"type": "disk", "source": "/srv/gone", "path": "/b"}
    configuration = stored(devices={"a": there, "b": gone})
    lacking = missing(configuration, HERE)
    assert [absent.what for absent in lacking] == ["path /srv/gone of the host"]
    left = restored(facts(configuration), lacking, HERE, in_place=True)
    assert left["devices"] == {"a": there}


def test_what_a_profile_wants_and_the_host_lacks_is_masked() -> None:
    gone = {"type": "disk", "source": "/srv/gone", "path": "/b"}
    here = Here("default", {"default": {**DEFAULT, "devices": {"root": ROOT, "b": gone}}})
    configuration = stored(devices={})
    lacking = missing(configuration, here)
    assert [absent.what for absent in lacking] == ["path /srv/gone of the host"]
    left = restored(facts(configuration), lacking, here, in_place=True)
    assert left["devices"] == {"b": {"type": "none"}}
    assert missing(stored(devices={"b": {"type": "none"}}), here) == []


def test_its_own_configuration_comes_before_that_of_profiles() -> None:
    profiles = {"one": {"config": {"a": "1", "b": "1"}}, "two": {"config": {"b": "2", "c": "2"}}}
    configuration = {"profiles": ["one", "two", "gone"], "config": {"c": "3"}}
    assert merged("config", configuration, profiles) == {"a": "1", "b": "2", "c": "3"}


def test_what_a_project_with_limits_forbids_is_told_from_what_it_lets_pass() -> None:
    passes = {
        "limits.memory": "1GiB",
        "volatile.base_image": "abc",
        "volatile.eth0.hwaddr": "00:16:3e:00:00:01",
        "volatile.root.apply_quota": "true",
        "volatile.last_state.idmap": "[]",
    }
    assert low_level({"config": passes}) == []
    forbidden = {
        "volatile.uuid": "1",
        "volatile.eth0.name": "x",
        "volatile.last_state.idmap": "[{}]",
    }
    assert low_level({"config": {**passes, **forbidden}}) == [
        "volatile.last_state.idmap",
        "volatile.uuid",
        "volatile.eth0.name",
    ]


def nat(connect: str) -> dict[str, str]:
    return {"type": "proxy", "nat": "true", "listen": "tcp:10.0.0.1:80", "connect": connect}


def test_a_copy_is_without_the_proxies_that_led_to_the_addresses_it_lost() -> None:
    nic = {**NIC, "ipv4.address": "10.7.0.7"}
    devices = {"eth0": nic, "web": nat("tcp:10.7.0.7:80"), "any": nat("tcp:0.0.0.0:80")}
    before = facts(stored(devices=devices))
    copy = restored(before, [], HERE, in_place=False)
    left, names = without_stranded(copy, before, HERE)
    assert (names, list(left["devices"])) == (["web", "any"], ["eth0"])
    same = restored(before, [], HERE, in_place=True)
    assert without_stranded(same, before, HERE) == (same, [])


def test_what_never_led_anywhere_stays_as_it_was() -> None:
    before = facts(stored(devices={"web": nat("tcp:[fd00::7]:80")}))
    copy = restored(before, [], HERE, in_place=False)
    assert without_stranded(copy, before, HERE) == (copy, [])


def test_lxd_judges_all_that_does_not_belong_to_the_name() -> None:
    nic = {**NIC, "ipv4.address": "10.7.0.7"}
    config = {
        "limits.memory": "1GiB",
        "boot.autostart": "true",
        "security.protection.delete": "true",
        "volatile.uuid": "1",
    }
    whole = stored(config=config, devices={"eth0": nic, "root": {**ROOT, "size": "1GiB"}})
    own = {"config": {"user.mark": "x"}, "devices": {"root": ROOT}}
    judged = rehearsal(whole, own, in_place=True)
    assert judged["config"] == {"limits.memory": "1GiB", "user.mark": "x"}
    assert judged["devices"] == {"root": ROOT}
    assert rehearsal(whole, own, in_place=False)["devices"] == {"eth0": nic, "root": ROOT}


def test_what_protects_or_starts_an_instance_goes_with_its_name() -> None:
    config = {"security.protection.delete": "true", "boot.autostart": "1", "user.a": "b"}
    assert set(given_away(stored(config=config))["config"]) == config.keys() - {"user.a"}
