"""A path is found as within the tree; nothing leads out of it."""

import os
from pathlib import Path

import pytest

from three_backup.errors import BackupError
from three_backup.tree.paths import FOLDER, opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with links, beside a file of the host."""
    (tmp_path / "secret").write_text("of the host")
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/sh").write_text("the shell within")
    (root / "bin").symlink_to("usr/bin")
    (root / "etc").mkdir()
    (root / "etc/sh").symlink_to("/bin/sh")
    (root / "etc/up").symlink_to("../../../../../../secret")
    (root / "etc/out").symlink_to(str(tmp_path / "secret"))
    (root / "etc/folder").symlink_to(str(tmp_path))
    (root / "etc/circle").symlink_to("circle")
    (root / "etc/passwd").write_text("of the container")
    (root / "host").symlink_to("/proc/self/root/etc/passwd")
    return root


def found(root: Path, path: str) -> str:
    descriptor = os.open(root, FOLDER)
    try:
        with opened(descriptor, path) as there:
            return there.path
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "."),
        ("", "."),
        ("../../..", "."),
        ("etc/passwd", "etc/passwd"),
        ("//etc/./../etc//passwd", "etc/passwd"),
        ("bin/sh", "usr/bin/sh"),
        ("etc/sh", "usr/bin/sh"),
        ("bin", "usr/bin"),
        ("../../etc/passwd", "etc/passwd"),
    ],
)
def test_a_path_leads_where_it_does_within(root: Path, path: str, place: str) -> None:
    assert found(root, path) == place


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("etc/nope", "there is no etc/nope"),
        ("/etc/nope/x", "etc/nope/x: there is no etc/nope"),
        ("etc/passwd/x", "etc/passwd/x: etc/passwd is no folder"),
        ("etc/up", "etc/up: there is no secret"),
        ("../secret", "../secret: there is no secret"),
        ("host", "host: there is no proc"),
        ("etc/circle", "etc/circle: its links lead in a circle"),
        ("x" * 300, f"there is no {'x' * 300}"),
    ],
)
def test_what_is_not_there_is_named(root: Path, path: str, sentence: str) -> None:
    with pytest.raises(BackupError) as raised:
        found(root, path)
    assert sentence in raised.value.message
    assert "--list" in raised.value.hint


def test_a_name_much_like_it_is_asked_for(root: Path) -> None:
    with pytest.raises(BackupError) as raised:
        found(root, "etc/passwrd")
    assert raised.value.hint == "did you mean etc/passwd? --list names what is there"


@pytest.mark.parametrize("path", ["etc/out", "etc/folder/secret"])
def test_no_link_leads_out(root: Path, path: str) -> None:
    with pytest.raises(BackupError):
        found(root, path)
