"""A restored instance is configured as it was, except for what this host lacks."""

from typing import Any

import pytest

from three_backup.sources.lxd.instance_configuration import (
    Here,
    host_path,
    low_level,
    merged,
    missing,
    restored,
    with_own,
)

ROOT = {"type": "disk", "path": "/", "pool": "default"}
NIC = {"type": "nic", "network": "lxdbr0"}
DATA = {"type": "disk", "path": "/data", "pool": "default", "source": "data"}
HERE = Here(
    "default",
    {"default": {"name": "default", "devices": {"root": ROOT}}},
    frozenset({"lxdbr0"}),
    frozenset({("default", "data")}),
    frozenset({"/srv/there"}),
)
BARE = Here(
    "fast",
    {"default": {"name": "default", "devices": {}}},
    *(frozenset(), frozenset(), frozenset()),
)


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


def config_of(in_place: bool) -> set[str]:
    return set(restored(stored(), {"root": ROOT}, [], HERE, in_place=in_place)["config"])


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
    assert (
        restored(stored(), {"root": ROOT}, [], HERE, in_place=True)["devices"]
        == stored()["devices"]
    )


def test_all_that_is_missing_is_named_and_nothing_else_left_out() -> None:
    limits = {"type": "unix-char", "source": "/dev/kvm"}
    configuration = stored(
        devices={"eth0": NIC, "data": DATA, "kvm": limits}, profiles=["default", "web"]
    )
    lacking = missing(configuration, BARE)
    assert [absent.what for absent in lacking] == [
        "profile web",
        "network lxdbr0",
        "volume data of pool default",
    ]
    left = restored(configuration, {"root": ROOT}, lacking, BARE, in_place=True)
    assert left["profiles"] == ["default"]
    assert left["devices"] == {"kvm": limits, "root": {**ROOT, "pool": "fast"}}


def test_a_disk_of_its_own_keeps_its_quota_in_another_pool() -> None:
    root = {**ROOT, "size": "1GiB"}
    configuration = stored(devices={"disk0": root})
    devices = restored(configuration, {"disk0": root}, [], BARE, in_place=True)["devices"]
    assert devices == {"disk0": {**root, "pool": "fast"}}


def path_of(**device: str) -> str | None:
    return host_path({"type": "disk", "source": "/srv/gone", "path": "/data", **device})


def test_a_path_of_the_host_is_needed_unless_the_device_can_do_without() -> None:
    assert path_of() == path_of(required="true") == path_of(required="") == "/srv/gone"
    assert path_of(optional="false") == "/srv/gone"
    assert path_of(required="false") is None
    assert path_of(optional="true") is None
    assert path_of(pool="default") is None
    assert path_of(type="unix-char") is None
    assert path_of(source="ceph:pool/volume") is None
    assert host_path(ROOT) is None


def test_a_path_that_the_host_lacks_is_named_and_left_out() -> None:
    there = {"type": "disk", "source": "/srv/there", "path": "/a"}
    gone = {"type": "disk", "source": "/srv/gone", "path": "/b"}
    configuration = stored(devices={"a": there, "b": gone})
    lacking = missing(configuration, HERE)
    assert [absent.what for absent in lacking] == ["path /srv/gone of the host"]
    left = restored(configuration, {"root": ROOT}, lacking, HERE, in_place=True)
    assert left["devices"] == {"a": there}


def test_what_a_profile_wants_and_the_host_lacks_is_masked() -> None:
    gone = {"type": "disk", "source": "/srv/gone", "path": "/b"}
    profiles = {"default": {"name": "default", "devices": {"root": ROOT, "b": gone}}}
    here = Here("default", profiles, *(frozenset(), frozenset(), frozenset()))
    configuration = stored(devices={})
    lacking = missing(configuration, here)
    assert [absent.what for absent in lacking] == ["path /srv/gone of the host"]
    left = restored(configuration, {"root": ROOT}, lacking, here, in_place=True)
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
