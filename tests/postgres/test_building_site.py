"""The folders that a whole cluster is restored into: what is missing is made, and taken back."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from three_backup.demo.daemon import unprivileged_account
from three_backup.errors import BackupError
from three_backup.sources.postgres.cluster.building_site import building_site

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture
def above(server_folder: Path) -> Iterator[Path]:
    """An empty folder that everybody may enter."""
    above = server_folder / "sites"
    above.mkdir()
    above.chmod(0o755)
    yield above
    shutil.rmtree(above)


def test_folders_above_are_made_for_everybody_to_enter(above: Path) -> None:
    directory, space = above / "17/main", above / "spaces/fast"
    with building_site(directory, {16384: space}, None) as site:
        site.combined.mkdir()
        (site.combined / "PG_VERSION").write_text("17\n")
        site.move_in()
    assert (directory / "PG_VERSION").is_file()
    for folder, mode in ((above / "17", 0o755), (above / "spaces", 0o755), (directory, 0o700)):
        assert folder.stat().st_mode & 0o777 == mode


def test_a_restore_that_fails_removes_the_folders_above_again(above: Path) -> None:
    with pytest.raises(KeyboardInterrupt), building_site(above / "a/b/main", {}, None):
        raise KeyboardInterrupt
    assert list(above.iterdir()) == []


@only_root
@pytest.mark.parametrize("owner", ["root", "user", "other"])
def test_folders_above_belong_to_the_owner_of_the_one_they_lie_in(above: Path, owner: str) -> None:
    number = unprivileged_account().uid or 0
    user = pwd.getpwuid(number).pw_name
    os.chown(above, {"root": 0, "user": number, "other": 12345}[owner], -1)
    if owner == "other":
        with pytest.raises(BackupError, match=r"the folder .*/17 is missing; make it"):
            _enter(above / "17/main", user)
        return
    with building_site(above / "17/main", {}, user):
        assert (above / "17").stat().st_uid == above.stat().st_uid
        assert (above / "17/main").stat().st_uid == number


def test_a_file_in_the_way_is_named(above: Path) -> None:
    (above / "17").touch()
    with pytest.raises(BackupError, match=rf"{above}/17 is not a folder"):
        _enter(above / "17/main", None)


def _enter(directory: Path, user: str | None) -> None:
    with building_site(directory, {}, user):
        pass
