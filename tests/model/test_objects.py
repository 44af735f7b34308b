"""Ids and selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import UsageError
from three_backup.model.objects import ObjectId, can_match_below, matches, selected

NAMES = st.one_of(
    st.text(max_size=80),
    st.binary(max_size=80).map(lambda name: name.decode("utf-8", "surrogateescape")),
)
IDS = st.builds(ObjectId, st.just("postgres"), st.just("table"), NAMES, NAMES, NAMES)


@given(IDS)
def test_parsing_undoes_formatting_for_any_name(object_id: ObjectId) -> None:
    assert ObjectId.parse(str(object_id)) == object_id


@given(st.sets(IDS, min_size=2, max_size=2))
def test_two_objects_never_share_an_id(ids: set[ObjectId]) -> None:
    assert len(set(map(str, ids))) == 2


@given(IDS)
def test_an_id_is_one_line_without_a_wildcard_that_selects_itself(object_id: ObjectId) -> None:
    text = str(object_id)
    assert text.splitlines() == [text]
    assert matches(text, text)


def test_only_what_would_mislead_is_encoded() -> None:
    object_id = ObjectId("postgres", "table", "продажи", "a b", "50%/*?[x]\n..")
    assert str(object_id) == "postgres/table/продажи/a b/50%25%2F%2A%3F%5Bx]%0A.."


def test_a_name_that_is_not_utf8_keeps_its_bytes() -> None:
    object_id = ObjectId("postgres", "table", "caf\udce9", "caf\udcc3", "café\udcff%")
    assert str(object_id) == "postgres/table/caf%E9/caf%C3/café%FF%25"
    assert ObjectId.parse("postgres/table/caf\udce9/caf%c3/caf%C3%A9%FF%25") == object_id


@pytest.mark.parametrize(
    "text", ["", "postgres", "a/b/c/d", "a/b/c/d/e/f", "//c/d/e", "a/b/c/d/\ud800"]
)
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an object id"):
        ObjectId.parse(text)


@pytest.mark.parametrize(
    ("pattern", "object_id", "expected"),
    [
        ("*", "postgres/table/a/b/c", True),
        ("postgres", "postgres/table/a/b/c", True),
        ("postgres/", "postgres/table/a/b/c", True),
        ("postgres/table/a", "postgres/table/a/b/c", True),
        ("postgres/table/a", "postgres/table/ab/b/c", False),
        ("postgres/table/a/b/c", "postgres/table/a/b/c", True),
        ("postgres/table/a*", "postgres/table/ab/b/c", True),
        ("*/c", "postgres/table/a/b/c", True),
        ("*/c", "postgres/table/a/b/cc", False),
        ("clickhouse/*", "postgres/table/a/b/c", False),
        ("postgres/table/?/b/[cd]", "postgres/table/a/b/d", True),
        ("Postgres", "postgres/table/a/b/c", False),
    ],
)
def test_a_pattern_selects_its_ids(pattern: str, object_id: str, expected: bool) -> None:
    assert matches(pattern, object_id) is expected


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [
        ("*", "postgres", True),
        ("post*", "postgres", True),
        ("*/prod", "postgres", True),
        ("lxd", "postgres", False),
        ("lxd*", "postgres", False),
        ("postgres/table/prod", "postgres", True),
        ("postgres/table/prod", "postgres/table/test", False),
        ("postgres/table/prod", "postgres/table/prod", True),
        ("postgres/table/pro*", "postgres/table/prod", True),
        ("postgres/table/prod/public/*", "postgres/table/prod", True),
        ("postgresql", "postgres", False),
    ],
)
def test_a_source_is_contacted_only_if_a_pattern_can_reach_it(
    pattern: str, prefix: str, expected: bool
) -> None:
    assert can_match_below(pattern, prefix) is expected


@given(IDS, st.sampled_from(["*", "postgres", "postgres/*", "postgres/table*", "*/a", "lxd"]))
def test_what_matches_is_never_out_of_reach(object_id: ObjectId, pattern: str) -> None:
    if matches(pattern, str(object_id)):
        assert can_match_below(pattern, object_id.type)


def test_no_pattern_selects_everything() -> None:
    assert selected((), "postgres/table/a/b/c")
    assert not selected(("lxd", "clickhouse"), "postgres/table/a/b/c")
