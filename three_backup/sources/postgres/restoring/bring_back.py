"""Moves families from the scratch server into their target database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.as_owner import evaluates_code, run_as
from three_backup.sources.postgres.restoring.dump import dump_objects, dump_schemas
from three_backup.sources.postgres.restoring.family import (
    SEQUENCE,
    STATISTICS,
    VIEWS,
    Family,
    without_clashes,
)
from three_backup.sources.postgres.restoring.large_objects import copy_large_objects
from three_backup.sources.postgres.restoring.needs import (
    Need,
    is_code,
    missing,
    read_needs,
    refuse_to_invent,
)
from three_backup.sources.postgres.restoring.ownership import ACL, OWNER, Giving
from three_backup.sources.postgres.restoring.staging import ForeignKey, Staged, place, stage
from three_backup.sources.postgres.restoring.surroundings import (
    add_labels,
    default_grants,
    lost_publications,
)
from three_backup.sources.postgres.restoring.target import (
    Existing,
    attempt,
    check_free,
    check_partitions_free,
    connect_target,
    existing,
    relation_exists,
    taken_names,
)
from three_backup.sources.postgres.restoring.things import (
    Grant,
    Thing,
    address_of_source,
    live_grants,
    thing_of,
    thing_of_part,
)
from three_backup.sources.postgres.restoring.transfer import (
    clear_way,
    copy_sequence,
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


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A family that lies in its stage in the target."""

    staged: Staged
    rows: Mapping[int, int]  # how many, by the oid of their table
    said: list[str]  # notes


def prepare(
    scratch: "Connection", target: "Connection", family: Family, doomed: Existing | None
) -> Prepared:
    """Give the family free names, and read what it needs and what the target lacks of that.

    doomed: what it replaces, if that is still there. Raises BackupError where the name of a
    partition is taken.
    """
    check_partitions_free(target, family, doomed)
    named = without_clashes(family, partial(taken_names, target, doomed=doomed))
    needs = read_needs(scratch, named)
    return Prepared(named, needs, missing(target, needs))


def bring_back(
    server: ScratchServer,
    scratch: "Connection",
    families: Sequence[Family],
    options: Mapping[str, Any],
    *,
    overwrite: bool,
) -> list[BroughtBack]:
    """Restore the families in one transaction of the target: all of them or nothing.

    Only foreign keys, and the attachment to a parent, may fail alone: the result names them. Of
    several families, views are loaded last, when the tables that they read are in place.
    options: `owner`, `acl`; False leaves these out.
    """
    kept = [what for what in (OWNER, ACL) if options.get(what, True)]
    first = [one for one in families if len(families) == 1 or one.root.kind not in VIEWS]
    later = [one for one in families if one not in first]
    with connect_target(families[0].target.level1) as target, target.transaction():
        move = _Move(server, scratch, target, kept)
        doomed = {
            family: found
            for family in families
            if (found := check_free(target, family.target, overwrite=overwrite)) is not None
        }
        loaded = {family: _load(move, family, doomed.get(family)) for family in first}
        lost = {family: lost_publications(target, found) for family, found in doomed.items()}
        clear_way(target, list(doomed.items()))
        for done in loaded.values():
            put_in_place(target, done.staged)
        for family in later:
            loaded[family] = _load(move, family, None)
            put_in_place(target, loaded[family].staged)
        return [
            _finish(move, loaded[family], doomed.get(family), lost.get(family, []))
            for family in families
        ]


def _load(move: _Move, family: Family, doomed: Existing | None) -> _Loaded:
    """Load the family into its stage. doomed: what it replaces, if that is still there."""
    database = family.object.level1
    prepared = prepare(move.scratch, move.target, family, doomed)
    named, lacking = prepared.family, prepared.lacking
    refuse_to_invent(str(family.target), lacking)
    giving = Giving(move.scratch, move.target, move.kept)
    _create(move, giving, database, lacking)
    can_inherit = partial(relation_exists, move.target)
    staged = stage(move.scratch, named, _prefix(move.server, family), can_inherit)
    definitions = dump_schemas(move.server, database, staged.schemas)
    place(move.scratch, staged)
    has_code = any(map(is_code, prepared.needs))
    author = giving.author(address_of_source(named.root)) if has_code else None
    for schema in staged.schemas:
        move.target.execute(f"CREATE SCHEMA {quoted(schema)}".encode(*AS_BYTES))
    _define(move, staged, author, definitions.before)
    relations = list(_relations(move, staged, has_code=has_code))
    giving.own(relations)  # before anything of them is evaluated
    rows, said = load(move.scratch, move.target, staged, as_owner=author is not None)
    if author is not None:  # who alone can complete what may be another one's partition
        giving.lend(relations, author)
    _define(move, staged, author, definitions.after)
    giving.own(relations)
    giving.own(
        [
            thing_of_part(move.target, part, staged.schema(part))
            for part in named.parts
            if part.kind == STATISTICS
        ]
    )
    giving.grant(relations, {} if doomed is None else _granted_since(move.target, staged))
    said += _large_objects(move, named, giving)
    return _Loaded(staged, rows, [*_notes(family, staged, lacking), *giving.notes(), *said])


def _define(move: _Move, staged: Staged, author: str | None, script: bytes) -> None:
    """Run the script; as its author, where what it only names may run code of that role."""
    if author is None:
        move.target.execute(script)
        return
    for schema in staged.schemas:
        grant = f"GRANT USAGE, CREATE ON SCHEMA {quoted(schema)} TO {quoted(author)}"
        move.target.execute(grant.encode(*AS_BYTES))
    run_as(move.scratch, move.target, staged.prefix, author, script + b"; SELECT 0::bigint")
    for table in staged.family.tables:
        found = existing(move.target, staged.schema(table), table.target.name)
        if found is None or found.kind != table.kind:
            raise BackupError(
                "postgres.tampered",
                f"{staged.family.target}: while it was made, code of {quoted(author)} put "
                "something else in its place",
                "look at the functions that it calls before you trust that role again",
            )


def _finish(
    move: _Move, loaded: _Loaded, doomed: Existing | None, lost: Sequence[str]
) -> BroughtBack:
    """Add what needs all families in place: parents, labels and foreign keys."""
    scratch, target, staged = move.scratch, move.target, loaded.staged
    said = [*loaded.said, *lost, *join_again(scratch, target, staged, doomed)]
    said += add_labels(scratch, target, staged.family)
    said += default_grants(target, staged.family, move.kept)
    refused = tuple(key for key in staged.foreign_keys if _why_not(scratch, target, key))
    return BroughtBack(loaded.rows, tuple(said), refused)


def add_foreign_keys(
    scratch: "Connection", database: str, keys: Sequence[ForeignKey]
) -> list[str]:
    """Add foreign keys that were refused before all tables were there; note what still fails."""
    notes = []
    with connect_target(database) as target, target.transaction():
        for key in keys:
            why_not = _why_not(scratch, target, key)
            if why_not is not None:
                notes.append(f"the foreign key {key.name} is not there: {why_not}")
    return notes


def _why_not(scratch: "Connection", target: "Connection", key: ForeignKey) -> str | None:
    return attempt(target, key.statement(scratch))


def _relations(move: _Move, staged: Staged, *, has_code: bool) -> Iterator[Thing]:
    """Yield the staged tables, views and sequences. has_code: they call functions of users."""
    for part in staged.family.members:
        if part.oid == part.table or part.kind == SEQUENCE:
            code = has_code or evaluates_code(move.scratch, part.oid)
            yield thing_of_part(move.target, part, staged.schema(part), has_code=code)


def _granted_since(target: "Connection", staged: Staged) -> dict[str, set[Grant]]:
    """Return what the live tables are granted that the staged ones will replace."""
    return {
        staged.name(table): live_grants(target, table.target.schema, table.target.name)
        for table in staged.family.tables
    }


def _create(move: _Move, giving: Giving, database: str, lacking: Sequence[Need]) -> None:
    for need in lacking:
        if need.is_schema:
            move.target.execute(f"CREATE SCHEMA {need.identity}".encode(*AS_BYTES))
    others = {(need.classid, need.oid) for need in lacking if not need.is_schema}
    if others:
        move.target.execute(dump_objects(move.server, database, others))
    for need in lacking:
        if need.kind == SEQUENCE:
            copy_sequence(move.scratch, move.target, need.oid, need.identity)
    things = [thing_of(move.scratch, move.target, need) for need in lacking]
    giving.own(things)
    giving.grant(things)


def _large_objects(move: _Move, family: Family, giving: Giving) -> list[str]:
    copied = copy_large_objects(move.scratch, move.target, family, giving)
    return [f"large objects that its rows name came with it: {copied}"] if copied else []


def _prefix(server: ScratchServer, family: Family) -> str:
    """Return a prefix for the stage's schemas, unique in the scratch server and the target."""
    return f"{server.log.parent.name.replace('-', '_')}_{family.root.oid}"


def _notes(family: Family, staged: Staged, lacking: Sequence[Need]) -> Iterator[str]:
    if lacking:
        yield f"it needed what was not there, now created: {', '.join(map(str, lacking))}"
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
