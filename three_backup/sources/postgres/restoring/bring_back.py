"""Bring one family out of the scratch server into its target database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.dump import dump_objects, dump_schemas
from three_backup.sources.postgres.restoring.family import SEQUENCE, Family, without_clashes
from three_backup.sources.postgres.restoring.large_objects import copy_large_objects
from three_backup.sources.postgres.restoring.needs import (
    Need,
    missing,
    read_needs,
    refuse_to_invent,
)
from three_backup.sources.postgres.restoring.scratch import ScratchServer
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
    relation_exists,
    taken_names,
)
from three_backup.sources.postgres.restoring.transfer import (
    copy_sequence,
    join_again,
    load,
    put_in_place,
)

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """rows: by the oid of their table; refused: foreign keys that the target did not take."""

    rows: Mapping[int, int]
    notes: tuple[str, ...]
    refused: tuple[ForeignKey, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What restoring a family means for its target database. doomed: what it replaces; family:
    with names that are free there; needs: what it depends on, lacking: what of that the target
    does not have."""

    doomed: Existing | None
    family: Family
    needs: list[Need]
    lacking: list[Need]


def prepare(
    scratch: "Connection", target: "Connection", family: Family, overwrite: bool
) -> Prepared:
    """Raises BackupError where something is in the way."""
    doomed = check_free(target, family.target, overwrite)
    check_partitions_free(target, family, doomed)
    named = without_clashes(family, partial(taken_names, target, doomed=doomed))
    needs = read_needs(scratch, named)
    return Prepared(doomed, named, needs, missing(target, needs))


def bring_back(
    server: ScratchServer,
    scratch: "Connection",
    family: Family,
    overwrite: bool,
    options: Mapping[str, Any],
) -> BroughtBack:
    """Restore the family in one transaction of the target: all of it is there, or nothing.

    Only foreign keys, and what the family was a part of, may be missing: they come as notes.
    options: `owner`, `acl`.
    """
    database = family.object.level1
    with connect_target(family.target.level1) as target, target.transaction():
        prepared = prepare(scratch, target, family, overwrite)
        doomed, named, lacking = prepared.doomed, prepared.family, prepared.lacking
        refuse_to_invent(str(family.target), lacking)
        _create(server, scratch, target, database, lacking)
        staged = stage(scratch, named, _prefix(server, family), partial(relation_exists, target))
        kept = [what for what in ("owner", "acl") if options.get(what)]
        definitions = dump_schemas(server, database, staged.schemas, kept)
        place(scratch, staged)
        rows, said = load(scratch, target, staged, definitions)
        said += _large_objects(scratch, target, named)
        said += [] if doomed is None else lost_publications(target, doomed)
        put_in_place(target, staged, doomed)
        said += join_again(target, staged, doomed)
        said += [*add_labels(scratch, target, named), *default_grants(target, named, kept)]
        refused = tuple(key for key in staged.foreign_keys if _why_not(scratch, target, key))
    return BroughtBack(rows, (*_notes(family, staged, lacking), *said), refused)


def add_foreign_keys(
    scratch: "Connection", database: str, keys: Sequence[ForeignKey]
) -> list[str]:
    """Try again what was refused when less was there; what still fails comes as notes."""
    notes = []
    with connect_target(database) as target, target.transaction():
        for key in keys:
            why_not = _why_not(scratch, target, key)
            if why_not is not None:
                notes.append(f"the foreign key {key.name} is not there: {why_not}")
    return notes


def _why_not(scratch: "Connection", target: "Connection", key: ForeignKey) -> str | None:
    return attempt(target, key.statement(scratch))


def _create(
    server: ScratchServer,
    scratch: "Connection",
    target: "Connection",
    database: str,
    lacking: Sequence[Need],
) -> None:
    for need in lacking:
        if need.is_schema:
            target.execute(f"CREATE SCHEMA {need.identity}".encode())
    others = {(need.classid, need.oid) for need in lacking if not need.is_schema}
    if others:
        target.execute(dump_objects(server, database, others))
    for need in lacking:
        if need.kind == SEQUENCE:
            copy_sequence(scratch, target, need.oid, need.identity)


def _large_objects(scratch: "Connection", target: "Connection", family: Family) -> list[str]:
    copied = copy_large_objects(scratch, target, family)
    return [f"large objects that its rows name came with it: {copied}"] if copied else []


def _prefix(server: ScratchServer, family: Family) -> str:
    """Of the stage's schemas: nobody else's, in the scratch server and in the target."""
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
