"""Two trees are compared by names, and files by what they hold only where nothing else tells."""

import os
import shutil
from pathlib import Path

import pytest

from three_backup.tree.comparison import Side, changes
from three_backup.tree.paths import FOLDER, opened
from three_backup.tree.request import Owners, Range
from three_backup.tree.walk import walked

AS_ON_DISK = Owners()
_THEN = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A tree, and one with the same names and times."""
    then = tmp_path / "then"
    (then / "etc").mkdir(parents=True)
    for name in ("a", "b", "c.d", "c/x", "z"):
        (then / "etc" / name).parent.mkdir(exist_ok=True)
        (then / "etc" / name).write_text("as it was")
    (then / "etc/link").symlink_to("a")
    shutil.copytree(then, tmp_path / "now", symlinks=True)
    for path in (*then.rglob("*"), *(tmp_path / "now").rglob("*")):
        os.utime(path, _THEN, follow_symlinks=False)
    return then, tmp_path / "now"


def found(then: Path, now: Path, later: Owners = AS_ON_DISK) -> list[str]:
    """Return the lines, with the type of change, the path and what differs."""
    descriptors = [os.open(tree, FOLDER) for tree in (then, now)]
    with opened(descriptors[0], "/") as one, opened(descriptors[1], "/") as other:
        sides = Side(walked(one, whole=True), AS_ON_DISK), Side(walked(other, whole=True), later)
        lines = [line.decode().rstrip("\n").split(",") for line in changes(*sides)]
    for descriptor in descriptors:
        os.close(descriptor)
    return [" ".join(filter(None, (fields[0], fields[-1]))) for fields in lines]


def test_what_is_the_same_is_no_difference_though_it_was_copied(
    trees: tuple[Path, Path],
) -> None:
    assert found(*trees) == []


def test_names_that_came_and_went_are_told_with_all_below_them(trees: tuple[Path, Path]) -> None:
    then, now = trees
    shutil.rmtree(now / "etc/c")
    (now / "etc/c").write_text("a file now")
    (now / "etc/new").mkdir()
    (now / "etc/new/file").touch()
    (now / "etc/z").unlink()
    lines = found(then, now)
    assert [line.split(" ")[0] for line in lines] == [
        *("betc/c", "netc/c", "retc/c/x", "aetc/new", "aetc/new/file", "retc/z"),
    ]
    assert lines[0].startswith("betc/c type ")


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda path: path.write_text("as it is!"), "content"),
        (lambda path: path.write_text("longer than it was"), "size"),
        (lambda path: path.chmod(0o600), "mode"),
        (lambda path: os.setxattr(path, "user.note", b"1"), "attributes"),
    ],
)
def test_a_change_is_found_whatever_the_time_says(
    trees: tuple[Path, Path], change: object, differs: str
) -> None:
    then, now = trees
    assert callable(change)
    change(now / "etc/b")
    os.utime(now / "etc/b", _THEN)
    assert found(then, now) == [f"betc/b {differs}", f"netc/b {differs}"]


def test_times_and_targets_are_compared(trees: tuple[Path, Path]) -> None:
    then, now = trees
    os.utime(now / "etc/a", ns=(0, 1_700_000_000_000_000_001))
    (now / "etc/link").unlink()
    (now / "etc/link").symlink_to("b")
    os.utime(now / "etc/link", _THEN, follow_symlinks=False)
    assert found(then, now) == [
        *("betc/a mtime", "netc/a mtime", "betc/link target", "netc/link target"),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_owners_are_compared_as_the_container_has_them(trees: tuple[Path, Path]) -> None:
    then, now = trees
    for path in (now, *now.rglob("*")):
        os.lchown(path, 1000000, 1000000)
    shifted = Owners((Range(users=True, groups=True, disk=1000000, inside=0, count=9),))
    assert found(then, now, later=shifted) == []
    assert len(found(then, now)) == 2 * 9


def test_a_file_that_nobody_touched_is_not_read(trees: tuple[Path, Path]) -> None:
    then, _ = trees
    (then / "etc/a").write_bytes(bytes(1_000_000))
    before = _bytes_read()
    assert found(then, then) == []
    assert _bytes_read() - before < 100_000


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])
