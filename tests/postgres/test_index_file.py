"""An index is loaded as it was dumped, and a malformed or hostile one is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.index import File, Form, Frame, Group, Index, Tier
from three_backup.sources.postgres.index_file import dump, load
from three_backup.sources.postgres.pack import FRAME_SIZE, compress_file, decompress_file

_PATHS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
        lambda name: name not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)
_IDS = st.builds(ObjectId, st.just("postgres"), st.just("table"), st.text(), st.text(), st.text())
_NUMBERS = st.integers(0, 1 << 60)
_FILES = st.builds(
    File,
    path=_PATHS,
    form=st.sampled_from(Form),
    place=st.sampled_from(Tier),
    size=_NUMBERS,
    crc32c=st.integers(0, (1 << 32) - 1),
    blocks=st.none() | _NUMBERS,
    digest=st.none() | st.binary(min_size=16, max_size=16),
)
_FRAMES = st.builds(
    Frame,
    offset=_NUMBERS,
    stored=st.integers(1, FRAME_SIZE),
    raw=st.integers(1, FRAME_SIZE),
    sha256=st.binary(min_size=32, max_size=32),
)
_GROUPS = st.builds(Group, st.sampled_from(Tier), st.lists(_FRAMES, max_size=3).map(tuple))
_PATH_TUPLES = st.lists(_PATHS, max_size=3).map(tuple)


@given(
    st.lists(_FILES, unique_by=lambda file: file.path),
    st.lists(_GROUPS).map(tuple),
    st.dictionaries(_IDS, _PATH_TUPLES),
    _PATH_TUPLES,
    st.dictionaries(st.integers(1, 1 << 32), st.text()),
)
def test_an_index_comes_back(
    files: list[File],
    groups: tuple[Group, ...],
    objects: dict[ObjectId, tuple[str, ...]],
    directories: tuple[str, ...],
    tablespaces: dict[int, str],
) -> None:
    index = Index({file.path: file for file in files}, groups, objects, directories, tablespaces)
    assert load(dump(index), "here") == index


def _with(part: str, column: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        fields[part][column] = [value]

    return change


def _without(part: str) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        del fields[part]

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(
            _with("files", "path", path)
            for path in (
                "/etc/passwd",
                "../../etc/passwd",
                "base/../../etc",
                "base/./5",
                "..",
                "base//5",
                "base/5/",
                "",
                "a\0b",
                5,
            )
        ),
        _with("files", "size", -1),
        _with("files", "size", 1.5),
        _with("files", "size", value=True),
        _with("files", "size", 101),
        _with("files", "offset", 1),
        _with("files", "group", 1),
        _with("files", "group", -1),
        _with("files", "place", "local"),
        _with("files", "form", "whole"),
        _with("files", "digest", "zz"),
        _with("frames", "raw", FRAME_SIZE + 1),
        _with("frames", "stored", 1 << 40),
        _with("groups", "frames", 2),
        _without("files"),
        _without("objects"),
        lambda fields: fields.update(v=2),
        lambda fields: fields["files"]["path"].append("one/more"),
        lambda fields: fields["objects"].update(nonsense=[]),
        lambda fields: fields["objects"].update({"postgres/table/a/b/c": ["/etc"]}),
        lambda fields: fields.update(directories=["../up"]),
    ],
)
def test_a_hostile_index_is_refused_with_a_sentence(
    change: Callable[[dict[str, Any]], None],
) -> None:
    fields = json.loads(decompress_file(dump(_small())))
    change(fields)
    with pytest.raises(BackupError, match=r"^here: this is not an index of a snapshot"):
        load(compress_file(json.dumps(fields).encode()), "here")


@pytest.mark.parametrize(
    "stored",
    [b"", b"{}", compress_file(b"{"), compress_file(b"[]"), compress_file(b"[" * 99999)],
)
def test_what_is_no_index_at_all_is_refused_with_a_sentence(stored: bytes) -> None:
    with pytest.raises(BackupError, match=r"^here: this is not an index of a snapshot"):
        load(stored, "here")


def test_an_index_of_sixty_thousand_files_is_small() -> None:
    frames = [Frame(n * 900, 900, 24576, n.to_bytes(32, "big")) for n in range(10_000)]
    files = {
        path: File(path, Form.FULL, Tier.S3, 8192, n * 7919, n // 6, n % 3 * 8192)
        for n in range(60_000)
        for path in (f"base/16384/{16384 + n}",)
    }
    groups = tuple(Group(Tier.S3, (frame,)) for frame in frames)
    index = Index(files, groups, {})
    stored = dump(index)
    assert len(stored) < 1 << 20
    assert load(stored, "here") == index


def _small() -> Index:
    frame = Frame(0, 90, 100, bytes(32))
    file = File("base/5/16391", Form.FULL, Tier.S3, 100, 1, 0)
    return Index(
        {file.path: file},
        (Group(Tier.S3, (frame,)),),
        {ObjectId("postgres", "table", "a", "b", "c"): (file.path,)},
        ("base",),
        {5: "/x"},
    )
