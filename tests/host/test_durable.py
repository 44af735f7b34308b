"""Durable writes in a folder where others write, too."""

from pathlib import Path

import pytest

from three_backup.host.durable import create_durably, torn, write_durably


def test_a_link_put_in_the_way_is_replaced_and_never_followed(tmp_path: Path) -> None:
    victim, page = tmp_path / "victim", tmp_path / "page"
    victim.write_text("ours")
    (tmp_path / torn("page")).symlink_to(victim)
    page.symlink_to(victim)
    write_durably(page, b"new", 0o644)
    assert victim.read_text() == "ours"
    assert (page.read_text(), page.is_symlink()) == ("new", False)
    assert page.stat().st_mode & 0o777 == 0o644


def test_what_a_killed_write_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / torn("page")).write_text("half of a page that is longer than the new one")
    write_durably(tmp_path / "page", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert (tmp_path / "page").read_bytes() == b"new"


def test_a_folder_put_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / torn("page")).mkdir()
    with pytest.raises(OSError, match=r"page\.new"):
        write_durably(tmp_path / "page", b"new")


def test_a_file_that_must_be_new_replaces_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / torn("page")).write_text("left by a killed attempt")
    (tmp_path / "page").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        create_durably(tmp_path / "page", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    (tmp_path / "page").unlink()
    create_durably(tmp_path / "page", b"new")
    assert (tmp_path / "page").read_bytes() == b"new"
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
