"""The lab itself: the programs of its machine behave as if they were installed on this host."""

import json
import os
import subprocess
from collections.abc import Sequence

import pytest

from tests.lab.lab import Lab
from three_backup.errors import BackupError

both = pytest.mark.parametrize("client", ["lxc", "incus"])


def run(lab: Lab, *argv: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    path = f"{lab.bindir}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        argv,
        env={**os.environ, "PATH": path, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "value", ["plain", "two words", "a 'b' \"c\" $HOME * \\", "line\nline", "Привет", ""]
)
def test_an_argument_arrives_as_it_was_given(lab: Lab, value: str) -> None:
    assert run(lab, "zfs", "set", f"lab:word={value or '-'}", "tank").returncode == 0
    found = run(lab, "zfs", "get", "-H", "-o", "value", "lab:word", "tank")
    assert found.stdout == f"{value or '-'}\n"


def test_a_failure_keeps_its_status_and_its_words(lab: Lab) -> None:
    failed = run(lab, "zfs", "list", "tank/nowhere")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "dataset does not exist" in failed.stderr


def test_a_stream_passes_through_both_ways(lab: Lab) -> None:
    lab.sh("zfs create -o mountpoint=none tank/streamed && zfs snapshot tank/streamed@one")
    run(lab, "sh", "-c", "zfs send tank/streamed@one | zfs receive tank/received")
    assert run(lab, "zfs", "list", "-Ho", "name", "tank/received@one").stdout.strip()
    lab.sh("zfs destroy -r tank/streamed && zfs destroy -r tank/received")


@both
def test_a_daemon_has_pools_projects_and_an_image(lab: Lab, client: str) -> None:
    assert names(lab, client, "storage-pools") == ["default", "folder", "second", "secret"]
    assert names(lab, client, "projects") == ["default", "plain", "shop"]
    assert "tiny" in run(lab, client, "image", "list", "--format=csv").stdout


def test_both_daemons_make_virtual_machines(lab: Lab) -> None:
    size = "--device=root,size=16MiB"
    for client, root in (("lxc", "tank/lxd"), ("incus", "tank/incus")):
        made = run(lab, client, "init", "--empty", "--vm", "guest", size)
        assert made.returncode == 0, made.stderr
        disk = f"{root}/virtual-machines/guest.block"
        assert run(lab, "zfs", "get", "-Hpo", "value", "volsize", disk).stdout == f"{16 << 20}\n"
        assert run(lab, client, "delete", "guest").returncode == 0


def test_commands_are_recorded(lab: Lab) -> None:
    with lab.calls() as calls:
        run(lab, "zpool", "list", "-H")
    assert calls == [["zpool", "list", "-H"]]


@both
def test_whoever_is_not_in_the_group_is_kept_out(lab: Lab, client: str) -> None:
    assert run(lab, client, "query", "/1.0/projects", LAB_USER="member").returncode == 0
    assert run(lab, client, "query", "/1.0/projects", LAB_USER="outsider").returncode == 1


def test_a_line_that_fails_in_the_machine_is_an_error(lab: Lab) -> None:
    with pytest.raises(BackupError, match="exit status 3"):
        lab.sh("exit 3")


def names(lab: Lab, client: str, kind: str) -> Sequence[str]:
    listed = json.loads(run(lab, client, "query", f"/1.0/{kind}").stdout)
    return sorted(path.rpartition("/")[2] for path in listed)
