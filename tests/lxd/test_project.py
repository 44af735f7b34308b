"""A restore that its project would refuse in the end is refused at once, with a remedy."""

import pytest

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.lxd import project

WEB = ObjectId("lxd", "container", "default", "shop", "web")
ALLOW = "restricted.containers.lowlevel"
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
        project.check_low_level(WEB, config, KEYS)
    allow, _, rest = refused.value.hint.partition("; ")
    assert allow.endswith(f"lxc project set shop {ALLOW}=allow")
    assert rest == ("" if "restricted" in config else "or unset limits.containers meanwhile")
    project.check_low_level(WEB, {**config, ALLOW: "allow"}, KEYS)
    project.check_low_level(WEB, config, [])


def test_a_project_without_limits_forbids_nothing() -> None:
    project.check_low_level(WEB, {"restricted": "false", "features.profiles": "true"}, KEYS)


@pytest.mark.parametrize("config", [{"features.storage.volumes": "false"}, {}])
def test_a_volume_needs_a_project_with_volumes_of_its_own(config: dict[str, str]) -> None:
    with pytest.raises(BackupError, match="no volumes of its own") as refused:
        project.check_volumes(WEB, config)
    assert refused.value.hint.endswith("--level2 default")
    project.check_volumes(WEB, {"features.storage.volumes": "true"})
