"""What a restore replaces keeps its protection until it goes, however the restore ends."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.lxd.test_life import described
from tests.pipeline.conftest import Host, Outcome

SAFE = "lxd/container/default/default/safe"
GUARDED = "lxd/container/default/default/guarded"
PROTECTED = "security.protection.delete"
# Calls of `lxc` in their order: the first one after the instance to be replaced was changed, the
# last one before the new one has its name, and the one that removes what was put aside.
PUT_ASIDE = '*{"name": "tb-replaced-*instances/safe*'
NAME = '*{"name": "safe"}*instances/tb-restore-*'
REMOVE = "*DELETE*instances/tb-replaced-*"
INSTANTS = [PUT_ASIDE, NAME]
_SPOILED = """\
#!/bin/sh
pattern={pattern}
case "$*" in
$pattern) {act} ;;
esac
exec {client} "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def made(host: Host, lab: Lab) -> None:
    """Two protected containers in S3, one by its own configuration and one by a profile."""
    inside.create_network(lab)
    lab.sh(
        f"""
        set -e
        lxc profile create guards
        lxc profile set guards {PROTECTED}=true
        lxc init tiny safe -c {PROTECTED}=true -c boot.autostart=true -c user.note=kept
        lxc config device add safe eth1 {inside.NIC}
        lxc init tiny guarded -p default -p guards
        """
    )
    host.good(f"tb-discover -s {SAFE} -s {GUARDED} | tb-snapshot --base | tb-upload")


@pytest.fixture
def before(lab: Lab) -> dict[str, Any]:
    return described(inside.instance(lab, "safe"))


@pytest.fixture
def spoiled(host: Host, lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """A stand-in of `lxc` or `incus`, first on PATH once it is written."""
    path = host.environ["PATH"]
    host.environ["PATH"] = f"{tmp_path}{os.pathsep}{path}"
    yield tmp_path / lab.words.client
    host.environ["PATH"] = path


def spoil(client: Path, lab: Lab, pattern: str, act: str) -> None:
    """Have the client do something else where its arguments match a pattern of the shell."""
    real = lab.bindir / lab.words.client
    client.write_text(_SPOILED.format(pattern=shlex.quote(pattern), act=act, client=real))
    client.chmod(0o755)


def names(lab: Lab) -> list[str]:
    return lab.sh("lxc list --format csv -c n").split()


def overwrite(host: Host) -> Outcome:
    return host.sh(f"tb-restore --overwrite {SAFE}")


def test_a_protected_container_is_replaced_as_often_as_one_likes(
    host: Host, lab: Lab, before: dict[str, Any]
) -> None:
    for _ in range(2):
        done = host.good(f"tb-restore --overwrite {SAFE} {GUARDED}")
        assert not any(record["restored"].get("notes") for record in done.records)
        assert names(lab) == ["guarded", "safe"]
        assert described(inside.instance(lab, "safe")) == before
        guarded = inside.instance(lab, "guarded")
        assert guarded["expanded_config"][PROTECTED] == "true"
        assert PROTECTED not in guarded["config"]


@pytest.mark.parametrize("instant", INSTANTS)
def test_after_a_failure_the_original_is_what_it_was(
    host: Host, lab: Lab, spoiled: Path, before: dict[str, Any], instant: str
) -> None:
    spoil(spoiled, lab, instant, "echo Error: no luck >&2; exit 1")
    failed = overwrite(host)
    assert failed.status == 1
    assert "no luck" in failed.stderr
    assert described(inside.instance(lab, "safe")) == before
    assert names(lab) == ["guarded", "safe"]


@pytest.mark.parametrize("instant", INSTANTS)
def test_after_a_kill_the_next_restore_gives_the_original_back_what_it_had(
    host: Host, lab: Lab, spoiled: Path, before: dict[str, Any], instant: str
) -> None:
    spoil(spoiled, lab, instant, "kill -9 $PPID; exit 1")
    assert overwrite(host).status
    spoiled.unlink()
    listed = host.good("tb-discover -s lxd/container")
    assert not [record for record in listed.records if record["level3"].startswith("tb-")]
    refused = host.sh(f"tb-restore {SAFE}")
    assert "there is one already" in refused.stderr
    assert described(inside.instance(lab, "safe")) == before
    assert names(lab) == ["guarded", "safe"]


def test_what_could_not_be_removed_is_told_and_removed_by_the_next_overwrite(
    host: Host, lab: Lab, spoiled: Path, before: dict[str, Any]
) -> None:
    spoil(spoiled, lab, REMOVE, "kill -9 $PPID; exit 1")
    assert overwrite(host).status
    spoiled.unlink()
    (aside,) = set(names(lab)) - {"guarded", "safe"}
    listed = host.good("tb-discover -s lxd/container")
    assert sorted(record["level3"] for record in listed.records) == ["guarded", "safe"]
    found = [line["finding"] for line in host.sh("tb-check --json -s lxd").records]
    (told,) = [finding for finding in found if finding["subject"] == aside]
    assert "--overwrite" in told["remedy"]
    assert aside in host.sh(f"tb-restore {SAFE}").stderr
    assert aside in names(lab)
    assert overwrite(host).status == 0
    assert names(lab) == ["guarded", "safe"]
    assert described(inside.instance(lab, "safe")) == before
