"""A list has a line of JSON for each name, in order, with what jq asks for."""

import json
import os
from pathlib import Path

from three_backup.tree.listing import lines
from three_backup.tree.names import plain
from three_backup.tree.paths import FOLDER, opened
from three_backup.tree.request import Owners
from three_backup.tree.walk import walked


def listed(root: Path, path: str = "/") -> list[dict[str, object]]:
    descriptor = os.open(root, FOLDER)
    with opened(descriptor, path) as found:
        text = b"".join(lines(walked(found), Owners(), "lxd/container/a/b/c"))
    os.close(descriptor)
    return [json.loads(line) for line in text.splitlines()]


def test_each_name_has_a_line_with_all_that_ls_shows(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/file").write_text("twelve bytes")
    (tmp_path / "b/file").chmod(0o4750)
    os.utime(tmp_path / "b/file", (0, 1_700_000_000))
    (tmp_path / "a").symlink_to("/nowhere\n")
    (tmp_path / os.fsdecode(b"c\xe9")).touch()
    names = listed(tmp_path)
    assert [name["path"] for name in names] == [".", "a", "b", "b/file", "c%E9"]
    assert names[1]["target"] == "/nowhere\n"
    status = (tmp_path / "b/file").stat()
    assert names[3] == {
        "id": "lxd/container/a/b/c",
        "path": "b/file",
        "type": "file",
        "mode": "4750",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": 12,
        "mtime": "2023-11-14T22:13:20Z",
    }
    assert [name["path"] for name in listed(tmp_path, "b/file")] == ["b/file"]


def test_a_folder_of_very_many_names_is_listed_in_parts(tmp_path: Path) -> None:
    for number in range(10_001):
        (tmp_path / f"{number:06}").touch()
    names = [str(name["path"]) for name in listed(tmp_path)]
    assert sorted(names[1:]) == [f"{number:06}" for number in range(10_001)]
    assert names[1:10_001] == sorted(names[1:10_001])


def test_no_name_of_a_file_tells_a_terminal_what_to_do() -> None:
    assert plain("Имя\x1b[31m\n\x9b\udce9") == "Имя%1B[31m%0A%C2%9B%E9"
