"""LXD reads from YAML exactly what was written, whatever text a description holds."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from three_backup.sources.lxd.daemon.client import as_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ODD = '\x00\x1f\x7f\x85\xa0\u0416\u2028\ud7ff\ue000\ufeff\uffff\U0001f389\U0010ffff"\\/\t'


@given(TEXT, TEXT)
def test_any_text_passes(key: str, value: str) -> None:
    assert yaml.safe_load(as_yaml({key: value})) == {key: value}


def test_no_character_is_refused_or_becomes_two() -> None:
    written = as_yaml({"user.note": ODD})
    assert yaml.safe_load(written) == {"user.note": ODD}
    assert yaml.load(written, Loader=yaml.CSafeLoader) == {"user.note": ODD}


def test_a_key_of_any_length_passes() -> None:
    long = {"config": {"user." + "\u0416" * 3000: "x" * 300_000}, "profiles": ["\U0001f389"]}
    assert yaml.load(as_yaml(long), Loader=yaml.CSafeLoader) == long
