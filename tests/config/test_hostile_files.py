"""Any configuration file is loaded, or refused with a sentence."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from three_backup.config import load
from three_backup.config.options import OPTIONS
from three_backup.errors import ConfigurationError
from three_backup.model.objects import ObjectId

from .conftest import Configure

EXAMPLE = (Path(__file__).parents[2] / "three_backup/config/three_backup.yaml").read_text()
WEB = ObjectId("lxd", "container", "default", "default", "web")

names = st.sampled_from(sorted(OPTIONS)) | st.text(max_size=9)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
odd = st.sampled_from(
    ["0 0 31 2 *", "* * * * * *", "-1", "1e9", "99999999999d", "../..", "%", "\0"]
)
values = st.recursive(
    scalars | odd,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3),
    max_leaves=5,
)
patterns = st.sampled_from(["*", "lxd", "postgres/table/*", "a/b/c/d/e/f", ""]) | st.text(
    max_size=9
)
sections = st.lists(st.dictionaries(patterns, st.dictionaries(names, values) | values), max_size=4)


def loads_or_says_why(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "three_backup.yaml"
        path.write_bytes(content)
        path.chmod(0o600)
        with suppress(ConfigurationError):
            configuration = load(path, {})
            configuration.settings(WEB)
            configuration.storages()


@given(sections)
def test_sections_of_anything(content: object) -> None:
    loads_or_says_why(yaml.safe_dump(content, allow_unicode=True).encode())


@given(st.binary(max_size=200))
def test_bytes_that_are_anything(content: bytes) -> None:
    loads_or_says_why(content)


@given(st.data())
def test_the_example_with_a_piece_of_it_elsewhere(data: st.DataObject) -> None:
    places = st.integers(0, len(EXAMPLE))
    start, end, at = (data.draw(places) for _ in range(3))
    piece = EXAMPLE[min(start, end) : max(start, end)]
    loads_or_says_why((EXAMPLE[:at] + piece + EXAMPLE[at + len(piece) :]).encode())


def test_what_refers_to_itself_is_refused(configure: Configure) -> None:
    for text in ("- &a [*a]", '- "*": &a {s3_bucket: *a}', "&a\n- lxd: *a"):
        with pytest.raises(ConfigurationError):
            configure(text)
