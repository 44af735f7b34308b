"""The link of a chain that each file comes from, for chains that hypothesis makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.links import (
    core_paths,
    database_of,
    places,
    resolve,
    stand_ins,
    stored_paths,
)
from three_backup.sources.postgres.index import File, Form, Index, Tier

ALWAYS = {"PG_VERSION", "backup_label", "global/pg_control"}
TABLE = "base/5/16400"
DELTAS = (Form.BLOCKS, Form.UNCHANGED)


def file(path: str, form: Form = Form.FULL, place: Tier = Tier.S3, blocks: int = 2) -> File:
    length = blocks if form in DELTAS else None
    return File(path, form, place, 8192 * blocks, 0, group=0, blocks=length)


def index(*files: File) -> Index:
    core = [file(path, place=Tier.CORE) for path in ALWAYS]
    return Index({stored.path: stored for stored in (*core, *files)}, (), {})


@given(st.lists(st.sampled_from([Form.FULL, *DELTAS, Form.SAME]), max_size=6))
def test_a_file_is_followed_to_its_newest_whole_copy(forms: list[Form]) -> None:
    forms = [Form.FULL, *forms]
    chain = [index(file(TABLE, form)) for form in forms]
    whole_needed = False
    for newer, older in zip(forms[::-1], forms[::-1][1:], strict=False):
        whole_needed = newer is Form.SAME
        if whole_needed and older in DELTAS:
            with pytest.raises(BackupError, match="only its changed blocks"):
                resolve(chain, [TABLE])
            return
        if newer is Form.FULL:
            break
    links = resolve(chain, [TABLE])
    newest_whole = max(number for number, form in enumerate(forms) if form is Form.FULL)
    for number, (form, link) in enumerate(zip(forms, links, strict=True)):
        is_read = number >= newest_whole and form in (Form.FULL, Form.BLOCKS)
        assert link == ((chain[number].files[TABLE],) if is_read else ())


@pytest.mark.parametrize("form", [*DELTAS, Form.SAME])
def test_a_chain_that_begins_with_a_change_is_refused(form: Form) -> None:
    with pytest.raises(BackupError, match="the base has only its changed blocks"):
        resolve([index(file(TABLE, form))], [TABLE])


def test_a_file_that_an_older_link_lacks_is_refused() -> None:
    with pytest.raises(BackupError, match="an older snapshot does not have it"):
        resolve([index(), index(file(TABLE, Form.BLOCKS))], [TABLE])


@pytest.mark.parametrize("number", [0, 1])
def test_what_was_left_out_in_any_link_is_refused(number: int) -> None:
    chain = [index(file(TABLE)), index(file(TABLE, Form.BLOCKS))]
    chain[number] = index(file(TABLE, Form.LEFT_OUT))
    with pytest.raises(BackupError, match="was disabled when the snapshot was taken"):
        resolve(chain, [TABLE])


def test_packs_that_never_leave_the_host_are_named() -> None:
    chain = [index(file(TABLE, place=Tier.LOCAL)), index(file(TABLE, Form.UNCHANGED))]
    assert places(resolve(chain, [TABLE])) == {Tier.LOCAL}


def test_stand_ins_are_as_long_as_what_they_stand_for() -> None:
    newest = index(
        file("base/5/16400", blocks=7),
        file("base/5/16400.1", Form.UNCHANGED, blocks=131072),
        file("base/5/16500", Form.LEFT_OUT, Tier.NONE, blocks=3),
        file("base/5/16600", blocks=0),
        file("base/5/16700", blocks=9),
        file("pg_wal/000000010000000000000001", place=Tier.CORE),
    )
    assert stand_ins(newest, {"base/5/16700"}) == {
        "base/5/16400": 7 * 8192,
        "base/5/16400.1": 1 << 30,
        "base/5/16500": 3 * 8192,
    }


def test_the_core_is_that_of_the_wanted_databases() -> None:
    catalogs = ["base/5/1259", "base/6/1259", "pg_tblspc/9/PG_17_202406281/6/2619", "global/1262"]
    newest = index(*(file(path, place=Tier.CORE) for path in catalogs), file("tablespace_map"))
    assert set(core_paths(newest, {"5"})) == ALWAYS | {"base/5/1259", "global/1262"}
    assert set(core_paths(newest, None)) == ALWAYS | set(catalogs)
    assert [database_of(path) for path in catalogs] == ["5", "6", "6", None]


@pytest.mark.parametrize("form", DELTAS)
def test_a_visibility_map_that_was_sent_in_part_is_not_trusted(form: Form) -> None:
    names = ["global/1262_vm", "base/5/1259_vm", f"{TABLE}_vm.1"]
    newest = index(*(file(name, form, Tier.CORE) for name in names), file(f"{TABLE}_fsm", form))
    assert set(stored_paths(newest)) == ALWAYS | {f"{TABLE}_fsm"}
    newest = index(*(file(name, place=Tier.CORE) for name in names))
    assert set(stored_paths(newest)) == ALWAYS | set(names)
