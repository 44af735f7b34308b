"""Moves families from the scratch server into their target database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.as_owner import evaluates_code
from three_backup.sources.postgres.restoring.create import Group, complete, create, stage_group
from three_backup.sources.postgres.restoring.family import (
    SEQUENCE,
    STATISTICS,
    Family,
    without_clashes,
)
from three_backup.sources.postgres.restoring.foreign_keys import ForeignKey
from three_backup.sources.postgres.restoring.large_objects import copy_large_objects
from three_backup.sources.postgres.restoring.memberships import (
    Membership,
    memberships_of_live,
    memberships_of_stored,
)
from three_backup.sources.postgres.restoring.needs import Need, missing, read_needs
from three_backup.sources.postgres.restoring.ownership import (
    ACL,
    OWNER,
    Giving,
    grant_all,
    own_all,
)
from three_backup.sources.postgres.restoring.schemas import create_own_schemas
from three_backup.sources.postgres.restoring.staging import Staged
from three_backup.sources.postgres.restoring.surroundings import (
    add_labels,
    default_grants,
)
from three_backup.sources.postgres.restoring.target import (
    Existing,
    check_free,
    check_partitions_free,
    connect_target,
    taken_names,
)
from three_backup.sources.postgres.restoring.things import Grant, Thing, live_grants, thing_of_part
from three_backup.sources.postgres.restoring.transfer import (
    clear_way,
    join_again,
    load,
    put_in_place,
)
from three_backup.sources.postgres.scratch.server import ScratchServer

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """The result of restoring one family."""

    rows: Mapping[int, int]  # how many, by the oid of their table
    notes: tuple[str, ...]
    refused: tuple[ForeignKey, ...]  # foreign keys that the target did not accept


@dataclass(frozen=True, slots=True)
class Prepared:
    """A family with names that are free in its target database."""

    family: Family
    needs: list[Need]  # what it depends on
    lacking: list[Need]  # the needs that the target does not have


@dataclass(frozen=True, slots=True)
class _Move:
    """The way from the scratch server into one transaction of the target."""

    server: ScratchServer
    scratch: "Connection"
    target: "Connection"
    kept: Sequence[str]  # which of OWNER and ACL are given back

    def giving(self) -> Giving:
        return Giving(self.scratch, self.target, self.kept)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A family that lies in its stage in the target."""

    staged: Staged
    doomed: Existing | None  # what it replaces
    giving: Giving
    relations: list[Thing]
    rows: Mapping[int, int]  # how many, by the oid of their table
    said: list[str]  # notes


def prepare(
    scratch: "Connection", target: "Connection", family: Family, doomed: Existing | None
) -> Prepared:
    """Give the family free names, and read what it needs and what the target lacks of that.

    doomed: what it replaces, if that is still there. Raises BackupError where the name of a
    partition is taken.
    """
    named = _named(target, family, doomed)
    needs = read_needs(scratch, [named])
    return Prepared(named, needs, missing(target, needs))


def bring_back(
    server: ScratchServer,
    scratch: "Connection",
    families: Sequence[Family],
    foreign_keys: Mapping[int, Sequence[ForeignKey]],
    options: Mapping[str, Any],
    *,
    overwrite: bool,
) -> list[BroughtBack]:
    """Restore the families in one transaction of the target: all of them or nothing.

    Only foreign keys, and the attachment to a parent, may fail alone: the result names them.
    foreign_keys: by the oids of the families' roots. options: `owner`, `acl`; False leaves these
    out.
    """
    kept = [what for what in (OWNER, ACL) if options.get(what, True)]
    with connect_target(families[0].target.level1) as target, target.transaction():
        move = _Move(server, scratch, target, kept)
        loaded, group = _stage(move, families, overwrite=overwrite)
        memberships = [_memberships(move, one) for one in loaded]
        create_own_schemas(loaded[0].giving, [one.staged.family for one in loaded])
        clear_way(target, [(one.staged.family, one.doomed) for one in loaded if one.doomed])
        for one in loaded:
            put_in_place(target, one.staged)
        for family, one in zip(families, loaded, strict=True):
            one.said[:0] = [*_notes(family, one.staged), *one.giving.notes()]
        loaded[0].said[:0] = _made(group)
        return [
            _finish(move, group, one, foreign_keys[one.staged.family.root.oid], ties)
            for one, ties in zip(loaded, memberships, strict=True)
        ]


def _stage(
    move: _Move, families: Sequence[Family], *, overwrite: bool
) -> tuple[list[_Loaded], Group]:
    """Make the families in their stages, complete and with their owners; nobody sees them yet."""
    doomed = [check_free(move.target, one.target, overwrite=overwrite) for one in families]
    named = [_named(move.target, *pair) for pair in zip(families, doomed, strict=True)]
    givings = [move.giving() for _ in named]  # the first also tells of what they all need
    prefix = move.server.log.parent.name.replace("-", "_")
    group = stage_group(move.server, givings[0], named, prefix)
    create(group, givings[0])
    relations_of = [list(_relations(move, group, staged)) for staged in group.staged]
    own_all(list(zip(givings, relations_of, strict=True)))  # before anything is evaluated
    loaded = [
        _load(move, group, *one)
        for one in zip(group.staged, doomed, givings, relations_of, strict=True)
    ]
    relations = {one.staged.family.root.oid: one.relations for one in loaded}
    loaded[0].said.extend(complete(group, givings[0], relations))
    _give(move, loaded)
    return loaded, group


def _named(target: "Connection", family: Family, doomed: Existing | None) -> Family:
    check_partitions_free(target, family, doomed)
    return without_clashes(family, partial(taken_names, target, doomed=doomed))


def _load(
    move: _Move,
    group: Group,
    staged: Staged,
    doomed: Existing | None,
    giving: Giving,
    relations: list[Thing],
) -> _Loaded:
    """Load the rows of a family into its stage."""
    author = group.authors[staged.family.root.oid]
    rows, said = group.path.helps(
        partial(load, move.scratch, move.target, staged, group.staged, as_owner=author is not None)
    )
    return _Loaded(staged, doomed, giving, relations, rows, said)


def _give(move: _Move, loaded: Sequence[_Loaded]) -> None:
    """Give what is complete to its owners, with its grants; bring the large objects."""
    own_all([(one.giving, list(_statistics(move, one.staged))) for one in loaded])
    grant_all([(one.giving, one.relations, _since(move, one)) for one in loaded])
    for one in loaded:
        copied = copy_large_objects(move.scratch, move.target, one.staged.family, one.giving)
        if copied:
            one.said.append(f"large objects that its rows name came with it: {copied}")


def _statistics(move: _Move, staged: Staged) -> Iterator[Thing]:
    for part in staged.family.parts:
        if part.kind == STATISTICS:
            yield thing_of_part(move.target, part, staged.schema(part))


def _memberships(move: _Move, loaded: _Loaded) -> list[Membership]:
    if loaded.doomed is None:
        return memberships_of_stored(move.scratch, loaded.staged.family)
    return memberships_of_live(move.target, loaded.doomed)


def _finish(
    move: _Move,
    group: Group,
    loaded: _Loaded,
    foreign_keys: Sequence[ForeignKey],
    memberships: Sequence[Membership],
) -> BroughtBack:
    """Add what needs all families in place: parents, memberships, labels and foreign keys."""
    scratch, target, staged = move.scratch, move.target, loaded.staged
    said = [*loaded.said, *join_again(target, group.path, staged, loaded.doomed)]
    said += (note for one in memberships for note in one.apply(target))
    said += add_labels(scratch, target, staged.family)
    said += default_grants(target, staged.family, move.kept)
    refused = tuple(key for key in foreign_keys if key.why_not_added(scratch, target))
    return BroughtBack(loaded.rows, tuple(said), refused)


def add_foreign_keys(
    scratch: "Connection", database: str, keys: Sequence[ForeignKey]
) -> list[str]:
    """Add foreign keys that were refused before all tables were there; note what still fails."""
    notes = []
    with connect_target(database) as target, target.transaction():
        for key in keys:
            why_not = key.why_not_added(scratch, target)
            if why_not is not None:
                notes.append(f"the foreign key {key.name} is not there: {why_not}")
    return notes


def _relations(move: _Move, group: Group, staged: Staged) -> Iterator[Thing]:
    """Yield the staged tables, views and sequences."""
    has_code = group.authors[staged.family.root.oid] is not None
    for part in staged.family.members:
        if part.oid == part.table or part.kind == SEQUENCE:
            thing = thing_of_part(move.target, part, staged.schema(part))
            code = has_code or evaluates_code(move.target, thing.target[1])
            yield replace(thing, runs_as_owner=code or thing.runs_as_owner)


def _since(move: _Move, loaded: _Loaded) -> dict[str, set[Grant]]:
    """Return what the live tables are granted that the staged ones will replace."""
    if loaded.doomed is None:
        return {}
    return {
        loaded.staged.name(table): live_grants(move.target, table.target.schema, table.target.name)
        for table in loaded.staged.family.tables
    }


def _made(group: Group) -> Iterator[str]:
    if group.lacking:
        made = ", ".join(map(str, group.lacking))
        for staged in group.staged:
            for part in staged.family.members:
                made = made.replace(f"{staged.schema(part)}.", f"{part.target.schema}.")
        yield f"it needed what was not there, now created: {made}"


def _notes(family: Family, staged: Staged) -> Iterator[str]:
    for table in family.tables:
        if table.unlogged:
            name = f"{quoted(table.source.schema)}.{quoted(table.source.name)}"
            yield f"{name} is unlogged: it comes back empty, as after a crash"
    for extension in staged.extensions:
        yield f"it is no part of extension {quoted(extension)} any more"
    for followed, named in zip(family.parts, staged.family.parts, strict=True):
        if followed.target != named.target:
            taken, name = quoted(followed.target.name), quoted(named.target.name)
            yield f"the name {taken} is taken: it is {name} now"
