"""Names that follow a table's new name: they fit and are free."""

from hypothesis import given
from hypothesis import strategies as st

from three_backup.sources.postgres.restoring.naming import LONGEST, follow, free, shorten

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=80)


@given(NAMES)
def test_a_shortened_name_fits_and_a_name_that_fits_is_kept(name: str) -> None:
    short = shorten(name)
    assert len(short.encode()) <= LONGEST
    assert (short == name) == (len(name.encode()) <= LONGEST)


def test_long_names_that_differ_at_their_ends_stay_different() -> None:
    assert shorten("ы" * 60 + "a") != shorten("ы" * 60 + "b")


def test_what_belongs_to_a_table_follows_its_name() -> None:
    assert follow("users_pkey", "users", "users_copy") == "users_copy_pkey"
    assert follow("by_mail", "users", "users_copy") == "users_copy_by_mail"
    assert follow("anything", "users", "users") == "anything"


@given(NAMES.map(shorten), st.integers(0, 3))
def test_a_free_name_is_nobodys(name: str, clashes: int) -> None:
    taken: set[str] = set()
    for _ in range(clashes):
        taken.add(free(name, taken))
    found = free(name, taken)
    assert found not in taken
    assert len(found.encode()) <= LONGEST
    assert clashes or found == name
