"""Errors of LXD and ZFS become a sentence with a remedy."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from three_backup.errors import UnreachableError
from three_backup.sources.lxd.daemon import failures
from three_backup.sources.lxd.daemon.daemons import LXD
from three_backup.sources.lxd.daemon.failures import HeldError, NoDatasetError, NotFoundError

DOWN = (
    "lxc failed (exit status 1): Error: The LXD daemon doesn't appear to be started "
    "(socket path: /var/lib/lxd/unix.socket)"
)


def test_where_nobody_listens_lxd_is_to_be_started(tmp_path: Path) -> None:
    error = failures.of_client(replace(LXD, sockets=(tmp_path / "unix.socket",)), "lxd", DOWN)
    assert isinstance(error, UnreachableError)
    assert str(error).startswith("lxd: LXD does not answer; start it")


@pytest.mark.skipif(os.geteuid() == 0, reason="every socket is open to root")
def test_where_the_socket_is_closed_to_us_the_group_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "unix.socket"
    closed.touch(mode=0)
    error = failures.of_client(replace(LXD, sockets=(closed,)), "lxd", DOWN)
    assert str(error).endswith("run as root, or add the user to the group lxd and log in again")


BUSY = (
    "lxc failed (exit status 1): Error: Failed to run: zfs destroy "
    "tank/lxd/containers/c@snapshot-x: cannot destroy snapshot: dataset is busy"
)
HELD = BUSY.replace("dataset is busy", "it's being held. Run 'zfs holds -r c@snapshot-x' to see")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lxc failed (exit status 1): Error: Instance not found", NotFoundError),
        ("lxc failed (exit status 1): Error: Storage volume not found", NotFoundError),
        (BUSY, HeldError),
        (HELD, HeldError),
    ],
)
def test_what_lxd_lacks_or_holds_is_told_apart(text: str, kind: type[Exception]) -> None:
    assert isinstance(failures.of_client(LXD, "lxd/container/a/b/c", text), kind)


def test_who_lacks_rights_in_the_pool_reads_how_to_give_them() -> None:
    error = failures.of_zfs(LXD, "lxd: pool a", "zfs failed: cannot send: permission denied")
    assert "zfs allow" in error.hint
    gone = failures.of_zfs(LXD, "a", "zfs failed: cannot open 'tank/a': dataset does not exist")
    assert isinstance(gone, NoDatasetError)


SHOW = (
    "see what the project forbids (lxc project show shop), or restore into another with --level2"
)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            """Project "my shop" doesn't allow for snapshot creation""",
            "allow them: lxc project set 'my shop' restricted.snapshots=allow",
        ),
        (
            'Use of low-level config "raw.lxc" on container "web" of project "shop" is forbidden',
            SHOW,
        ),
        ("Failed to run: zfs set quota=1", ""),
    ],
)
def test_what_a_project_refuses_has_a_remedy(said: str, remedy: str) -> None:
    error = failures.of_client(LXD, "a", f"lxc failed (exit status 1): Error: {said}")
    assert (error.message, error.hint) == (f"a: {said}", remedy)


@pytest.mark.parametrize(
    ("text", "code", "remedy"),
    [
        ("cannot open 'a': pool I/O is currently suspended", "lxd.suspended", "zpool clear"),
        (
            "cannot receive new filesystem stream: pool must be upgraded to receive this stream.",
            "lxd.old_pool",
            "zpool upgrade",
        ),
        ("cannot create snapshots : out of space", "lxd.full", "make room"),
        ("cannot receive incremental stream: dataset is busy", "lxd.held", "next run"),
        (
            "cannot receive new filesystem stream: destination has snapshots (eg. a@autosnap)",
            "lxd.others",
            "tb-restore-*",
        ),
    ],
)
def test_what_zfs_refuses_has_a_remedy(text: str, code: str, remedy: str) -> None:
    error = failures.of_zfs(LXD, "lxd: pool a", text)
    assert error.code == code
    assert remedy in error.hint


def test_lxd_too_may_be_out_of_room() -> None:
    text = "Error: Failed to create file: open /c/backup.yaml: disk quota exceeded"
    assert failures.of_client(LXD, "lxd/container/a/b/c", text).code == "lxd.full"
