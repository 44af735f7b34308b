"""A restore that its project would refuse in the end is refused at once, with a remedy."""

import pytest

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd.targets import project
from three_backup.sources.lxd.targets.restrictions import Forbidden

WEB = ObjectId("lxd", "container", "default", "shop", "web")
ALLOW = "restricted.containers.lowlevel"
NEED = {"limits.memory": "300MiB", "limits.cpu": "1"}
KEYS = ["volatile.uuid", "volatile.last_state.idmap"]


def test_an_instance_is_made_with_what_its_project_adds_up_and_no_more() -> None:
    expanded = {"limits.memory": "1GiB", "limits.cpu": "2", "limits.processes": "9", "user.a": "b"}
    assert project.limits(WEB, {"restricted": "true"}, expanded) == {}
    limits = {"limits.memory": "4GiB", "limits.processes": "100", "limits.containers": "5"}
    made = project.limits(WEB, limits, expanded)
    assert made == {"limits.memory": "1GiB", "limits.processes": "9"}


def test_a_limit_that_it_lacks_is_named() -> None:
    with pytest.raises(BackupError, match=r"demands limits\.memory of each") as refused:
        project.limits(WEB, {"limits.memory": "4GiB", "limits.cpu": "4"}, {"limits.cpu": "1"})
    assert "lxc profile set PROFILE limits.memory=... --project shop" in refused.value.hint


@pytest.mark.parametrize("key", ["limits.disk", "limits.disk.pool.default"])
def test_where_disks_are_limited_the_limit_has_to_go_meanwhile(key: str) -> None:
    with pytest.raises(BackupError) as refused:
        project.limits(WEB, {key: "4GiB"}, {})
    assert refused.value.hint.endswith(f"lxc project unset shop {key}")
    assert project.limits(WEB, {"limits.disk.pool.other": "4GiB"}, {}) == {}


@pytest.mark.parametrize("config", [{"restricted": "true"}, {"limits.containers": "3"}])
def test_a_project_that_forbids_keys_says_which_and_how_to_allow_them(
    config: dict[str, str],
) -> None:
    with pytest.raises(BackupError, match=r"volatile\.uuid") as refused:
        check(config, KEYS)
    allow, _, rest = refused.value.hint.partition("; ")
    assert allow.endswith(f"lxc project set shop {ALLOW}=allow")
    assert rest == ("" if "restricted" in config else "or unset limits.containers meanwhile")
    check({**config, ALLOW: "allow"}, KEYS)
    check(config, [])


def check(config: dict[str, str], keys: list[str]) -> None:
    project.check_allowed(WEB, config, project.low_level_forbidden(config, keys, "container"))


def test_a_project_without_limits_forbids_nothing() -> None:
    check({"restricted": "false", "features.profiles": "true"}, KEYS)


@pytest.mark.parametrize("config", [{"features.storage.volumes": "false"}, {}])
def test_a_volume_needs_a_project_with_volumes_of_its_own(config: dict[str, str]) -> None:
    with pytest.raises(BackupError, match="no volumes of its own") as refused:
        project.check_volumes(WEB, config)
    assert refused.value.hint.endswith("--level2 default")
    project.check_volumes(WEB, {"features.storage.volumes": "true"})


def test_all_that_is_forbidden_is_allowed_by_one_command() -> None:
    found = [
        Forbidden("a", ALLOW),
        Forbidden("b", "restricted.devices.disk.paths", "/srv,/my data"),
    ]
    with pytest.raises(BackupError, match="forbids a, b") as refused:
        project.check_allowed(WEB, {"restricted": "true"}, found)
    paths = "'restricted.devices.disk.paths=/srv,/my data'"
    assert refused.value.hint == f"allow it: lxc project set shop {ALLOW}=allow {paths}"


def test_limits_that_leave_no_room_are_named_with_the_values_that_do() -> None:
    config = {"limits.containers": "3", "limits.memory": "1GiB", "limits.cpu": "4"}
    used = {"limits.containers": 3, "limits.memory": 900 << 20, "limits.cpu": 3}
    with pytest.raises(
        BackupError, match=r"limits\.containers is 3, limits\.memory is 1GiB"
    ) as full:
        project.check_room(WEB, config, NEED, used)
    raised = f"limits.containers=4 limits.memory={1200 << 20}"
    assert full.value.hint == f"raise it meanwhile: lxc project set shop {raised}"
    project.check_room(WEB, config, NEED, {"limits.containers": 2, "limits.memory": 700 << 20})
    project.check_room(WEB, {}, NEED, {})


def test_the_largest_instance_is_what_a_restore_may_need_room_for() -> None:
    configs = [{"limits.memory": "900MB"}, {"limits.memory": "1GiB"}, {"limits.processes": "9"}]
    assert project.largest(configs) == {"limits.memory": "1GiB", "limits.processes": "9"}


def test_what_a_killed_restore_left_uses_nothing_up() -> None:
    web = {"name": "web", "type": "container", "expanded_config": {"limits.memory": "1GiB"}}
    machine = {"name": "vm", "type": "virtual-machine", "expanded_config": {"limits.cpu": "2"}}
    used = project.usage([web, machine, {**web, "name": "tb-restore-1"}])
    assert used == {
        "limits.instances": 2,
        "limits.containers": 1,
        "limits.virtual-machines": 1,
        "limits.memory": 1 << 30,
        "limits.cpu": 2,
        "limits.processes": 0,
    }
