"""A tar of a tree has all that the files have; GNU tar makes the same tree of it again."""

import os
import resource
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from three_backup.tree.archive import Archive
from three_backup.tree.attributes import acl_text, capability
from three_backup.tree.paths import FOLDER, opened
from three_backup.tree.request import OVERFLOW, Owners, Range
from three_backup.tree.walk import walked

AS_ON_DISK = Owners()
SHIFTED = Owners((Range(users=True, groups=True, disk=1000000, inside=0, count=65536),))
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1000033),
        (0x04, 4, 0xFFFFFFFF),
        (0x08, 5, 1000044),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
_GIVES_FILES_AWAY = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes such files")


def written(root: Path, path: str, owners: Owners = AS_ON_DISK) -> bytes:
    descriptor = os.open(root, FOLDER)
    with opened(descriptor, path) as found:
        archive = b"".join(Archive(owners).pieces(walked(found)))
    os.close(descriptor)
    return archive


def extracted(archive: bytes, folder: Path) -> Path:
    """Have GNU tar extract an archive, which it must find nothing strange about."""
    folder.mkdir()
    argv = ("tar", "-x", "--xattrs", "--xattrs-include=*", "--acls", "-pf", "-")
    done = subprocess.run(argv, cwd=folder, input=archive, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return folder


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    return {os.fsencode(path)[len(os.fsencode(root)) :]: _facts(path) for path in _all(root)}


def _all(root: Path) -> Iterator[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *files))


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
    }
    is_folder = stat.S_ISDIR(status.st_mode)
    links, size = (1, 0) if is_folder else (status.st_nlink, status.st_size)
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) and size < 1 << 24 else b""
    target = str(path.readlink()) if path.is_symlink() else ""
    owner = (status.st_uid, status.st_gid)
    time = status.st_mtime_ns
    return status.st_mode, owner, links, size, status.st_rdev, time, content, target, attributes


@_GIVES_FILES_AWAY
def test_a_tree_of_all_kinds_of_files_comes_back_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "root"
    zoo = root / "zoo"
    zoo.mkdir(parents=True)
    (zoo / "plain").write_bytes(b"plain\n" * 1000)
    (zoo / "empty").touch()
    (zoo / "twin").hardlink_to(zoo / "plain")
    (zoo / "link").symlink_to("/etc/passwd")
    (zoo / ("long link " + "x" * 150)).symlink_to("y" * 300)
    (zoo / os.fsdecode(b"no utf-8 \xe9\xff")).write_text("latin")
    (zoo / "Имя").write_text("письмо")
    (zoo / ("n" * 250)).write_text("a long name")
    (zoo / "a\nline").write_text("two lines")
    os.mkfifo(zoo / "fifo", 0o640)
    os.mknod(zoo / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(zoo / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    with (zoo / "sparse").open("wb") as file:
        file.seek(3 << 30)
        file.write(b"in the middle")
        file.truncate(9 << 30)
    (zoo / "hole").touch()
    os.truncate(zoo / "hole", 5_000_000)
    os.setxattr(zoo / "plain", "user.note", bytes(range(256)))
    os.setxattr(zoo / "empty", "system.posix_acl_access", _ACL)
    os.setxattr(zoo, "system.posix_acl_default", _ACL)
    os.setxattr(zoo / "empty", "security.capability", _capable(2))
    os.chown(zoo / "plain", 3_000_000_000, 33)
    (zoo / "plain").chmod(0o4755)
    os.utime(zoo / "empty", ns=(0, 90_000_500_000_000))
    os.utime(zoo / "twin", ns=(0, 1_700_000_000_123_456_789))
    os.utime(zoo / "link", ns=(0, 99_000_000_000_000_000), follow_symlinks=False)
    copy = extracted(written(root, "/"), tmp_path / "copy")
    assert described(copy) == described(root)
    assert (copy / "zoo/sparse").stat().st_blocks < 100


@_GIVES_FILES_AWAY
def test_owners_are_those_within_the_container_also_in_lists_and_capabilities(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, owner in (("roots", 1000000), ("webs", 1000033), ("strange", 5)):
        (root / name).touch()
        os.chown(root / name, owner, owner)
    os.setxattr(root / "webs", "system.posix_acl_access", _ACL)
    copy = extracted(written(root, "/", SHIFTED), tmp_path / "copy")
    found = {path.name: path.stat() for path in copy.iterdir()}
    assert {name: (status.st_uid, status.st_gid) for name, status in found.items()} == {
        "roots": (0, 0),
        "webs": (33, 33),
        "strange": (OVERFLOW, OVERFLOW),
    }
    value = os.getxattr(copy / "webs", "system.posix_acl_access")
    assert acl_text(value, Owners()) == (
        "user::rw-,user:33:r--,group::r--,group:44:r-x,mask::r-x,other::---"
    )
    assert capability(_capable(3, 1000000), SHIFTED) == _capable(2)
    assert capability(_capable(3, 1000007), SHIFTED) == _capable(3, 7)


def _capable(version: int, root: int = 0) -> bytes:
    body = struct.pack("<IIIII", version << 24 | 1, 1 << 10, 0, 0, 0)
    return body + (struct.pack("<I", root) if version == 3 else b"")


def test_a_socket_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(tmp_path / "root/socket"))
        assert b"socket" not in written(tmp_path / "root", "/")


def test_a_part_of_a_tree_keeps_its_place(tmp_path: Path) -> None:
    nginx = tmp_path / "root/etc/nginx"
    nginx.mkdir(parents=True)
    (nginx / "nginx.conf").write_text("worker_processes 1;")
    (tmp_path / "root/conf").symlink_to("/etc/nginx")
    for path in ("etc/nginx", "/etc/nginx/", "conf", "/etc/../conf"):
        copy = extracted(written(tmp_path / "root", path), tmp_path / path.replace("/", "_"))
        assert (copy / "etc/nginx/nginx.conf").read_text() == "worker_processes 1;"


def test_a_very_deep_tree_needs_few_descriptors_and_no_recursion(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    depth, folder = 1500, os.open(root, FOLDER)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", FOLDER, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path is made of them
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        archive = written(root, "/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert b"d/" * depth in archive
    subprocess.run(("rm", "-r", root), check=True)
