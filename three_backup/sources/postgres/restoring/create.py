"""Creates the definitions of a group of families in the target, and what they need.

PostgreSQL's pg_dump puts them into an order that works, circles included: functions over the row
type of a table whose index calls them, policies of two tables that read one another. Each thing is
made as its author, where making it may run code of that role.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.base import LackingError
from three_backup.sources.postgres.connection import quoted, said
from three_backup.sources.postgres.restoring.as_owner import run_as
from three_backup.sources.postgres.restoring.authors import authors_of, authors_of_needs
from three_backup.sources.postgres.restoring.dump import (
    Author,
    Definitions,
    Step,
    dump_definitions,
)
from three_backup.sources.postgres.restoring.family import SEQUENCE, Family
from three_backup.sources.postgres.restoring.needs import (
    Need,
    missing,
    read_needs,
    refuse_to_invent,
)
from three_backup.sources.postgres.restoring.ownership import Giving
from three_backup.sources.postgres.restoring.schemas import create_schema
from three_backup.sources.postgres.restoring.search_path import SourcePath
from three_backup.sources.postgres.restoring.staging import Staged, place, stage
from three_backup.sources.postgres.restoring.target import existing, relation_exists
from three_backup.sources.postgres.restoring.things import (
    OWNED,
    Thing,
    thing_of,
)
from three_backup.sources.postgres.restoring.transfer import copy_sequence
from three_backup.sources.postgres.scratch.server import ScratchServer
from three_backup.sources.postgres.spelling import bytes_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_OWNS = f"""
SELECT i.identity
  FROM ({OWNED}) AS s (classid, objid, owner)
  CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, 0) AS i
 WHERE s.owner = %s::oid AND i.schema = ANY(%s)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE (d.classid, d.objid) = (s.classid, s.objid) AND d.deptype = 'i')
"""  # noqa: S608
_GUARDS = ("policy ", "row security ")
_MAY_NOT = "postgres.owner_may_not"
_REFUSED = ("0A", "22", "23", "2F", "38", "39", "42", "P0")
"""Classes of errors that refuse what is asked for, and are no trouble of the server itself."""

_ROLE = "SELECT oid::int8 FROM pg_roles WHERE textsend(rolname::text) = %s"
_MAY_CREATE = "SELECT has_schema_privilege(%s::oid, %s, 'CREATE')"


@dataclass(frozen=True, slots=True)
class Group:
    """Families that come back together, with what they need and lack."""

    staged: list[Staged]
    needs: list[Need]
    lacking: list[Need]
    authors: Mapping[int, Author]  # of the families, by the oids of their roots
    definitions: Definitions
    path: SourcePath


def stage_group(
    server: ScratchServer, giving: Giving, families: Sequence[Family], prefix: str
) -> Group:
    """Stage the families, dump their definitions, and put them in their places in the scratch.

    families: with names that are free in the target. prefix: of the stages' schemas, unique on
    both servers. Raises LackingError where the target lacks a table that they need.
    """
    scratch, target, staged = giving.scratch, giving.target, list[Staged]()
    try:
        for family in families:
            own = f"{prefix}_{family.root.oid}"
            staged.append(stage(scratch, family, own, lambda name: relation_exists(target, name)))
        needs, lacking = _needs(giving, families)
        authors = authors_of(giving, families, needs, lacking)
        schemas = {
            schema: authors[one.family.root.oid] for one in staged for schema in one.schemas
        }
        others = authors_of_needs(giving, needs, lacking)
        database = families[0].object.level1
        definitions = dump_definitions(server, database, schemas, others)
    finally:
        for one in staged:
            place(scratch, one)
    closed = None in authors.values()
    path = SourcePath.of(scratch, target, families[0], needs, closed=closed)
    return Group(staged, needs, lacking, authors, definitions, path)


def create(group: Group, giving: Giving) -> None:
    """Create what the group needs and lacks, and its tables and views in their stages."""
    target = giving.target
    created = _create_schemas(giving.scratch, target, group)
    schemas = [thing_of(giving.scratch, target, need) for need in created]
    giving.own(schemas)
    giving.grant(schemas)
    for author in {*group.authors.values()} - {None}:
        for one in group.staged:
            rights = "USAGE, CREATE" if group.authors[one.family.root.oid] == author else "USAGE"
            _grant(target, rights, one.schemas, str(author))
    for step in group.definitions.before:
        group.path.helps(partial(_take, group, giving, step))
    others = [need for need in group.lacking if not need.is_schema]
    for need in others:
        if need.kind == SEQUENCE:
            copy_sequence(giving.scratch, target, need.oid, need.identity)
    things = [thing_of(giving.scratch, target, need) for need in others]
    giving.own(things)
    giving.grant(things)
    for one in group.staged:
        _check_untouched(target, one, group.authors[one.family.root.oid])


def complete(
    group: Group, giving: Giving, relations: Mapping[int, Sequence[Thing]]
) -> Iterator[str]:
    """Add what follows the rows: indexes, constraints, triggers, rules, policies.

    relations: those that the families are made of, by the oids of their roots. Yields a note for
    each that the target refuses: the rows are worth more. But without a policy somebody might read
    rows that they may not.
    """
    for root, author in group.authors.items():
        if author is not None:  # who alone can complete what may be another one's partition
            giving.lend(relations[root], author)
    for step in group.definitions.after:
        if _why_not_taken(group, giving, step) is not None:
            yield from _take_apart(group, giving, step)
    for related in relations.values():
        giving.own(related)


def _needs(giving: Giving, families: Sequence[Family]) -> tuple[list[Need], list[Need]]:
    """Return what the families need, and what of that the target lacks.

    Raises LackingError if tables are lacking. What functions only seem to call comes too, unless
    tables would be lacking for that.
    """
    needs = read_needs(giving.scratch, families)
    lacking = missing(giving.target, needs)
    refuse_to_invent(str(families[0].target), lacking)
    if any(need.is_code for need in lacking):
        more = read_needs(giving.scratch, families, bodies=True)
        lacking_more = missing(giving.target, more)
        with suppress(LackingError):
            refuse_to_invent("", lacking_more)
            return more, lacking_more
    return needs, lacking


def _create_schemas(scratch: "Connection", target: "Connection", group: Group) -> Iterator[Need]:
    for need in group.lacking:
        if need.is_schema:
            create_schema(scratch, target, need.names[0])
            yield need
    for schema in (schema for one in group.staged for schema in one.schemas):
        target.execute(f"CREATE SCHEMA {quoted(schema)}".encode(*AS_BYTES))


def _take_apart(group: Group, giving: Giving, step: Step) -> Iterator[str]:
    for single in group.definitions.apart(step):
        if str(single).startswith(_GUARDS):
            group.path.helps(partial(_take, group, giving, single))
        elif (why_not := _why_not_taken(group, giving, single)) is not None:
            yield f"the {single} is not there: {why_not}"


def _why_not_taken(group: Group, giving: Giving, step: Step) -> str | None:
    """Take the step; return why the target refuses it, None if it does not."""
    try:
        with giving.target.transaction():
            group.path.helps(partial(_take, group, giving, step))
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate[:2] not in _REFUSED:
            raise
        return said(error)
    except BackupError as error:
        if error.code != _MAY_NOT:
            raise
        return error.message
    return None


def _take(group: Group, giving: Giving, step: Step) -> None:
    """Run what the step says; as its author, if it has one."""
    if step.author is None:
        giving.target.execute(step.script)
        return
    target, author = giving.target, step.author
    ((role,),) = target.execute(_ROLE, (bytes_of(target, author),))
    schemas = sorted({need.schema for need in group.lacking if need.for_all})
    closed = [one for one in schemas if (False,) in target.execute(_MAY_CREATE, (role, one))]
    had = target.execute(_OWNS.encode(), (role, closed)).fetchall()
    _grant(target, "CREATE", closed, author)
    query = step.script + b"; SELECT 0::bigint"
    try:
        run_as(target, group.staged[0].prefix, author, query)
    except psycopg.errors.InsufficientPrivilege as error:
        raise _may_no_longer(author, error) from error
    for schema in closed:
        revoke = f"REVOKE CREATE ON SCHEMA {quoted(schema)} FROM {quoted(author)}"
        target.execute(revoke.encode(*AS_BYTES))
    expected = {*had, *((need.identity,) for need in group.lacking)}
    if not expected.issuperset(target.execute(_OWNS.encode(), (role, closed))):
        raise _tampered(group.staged[0].family, author)


def _check_untouched(target: "Connection", staged: Staged, author: Author) -> None:
    for table in staged.family.tables if author is not None else ():
        found = existing(target, staged.schema(table), table.target.name)
        if found is None or found.kind != table.kind:
            raise _tampered(staged.family, str(author))


def _grant(target: "Connection", rights: str, schemas: Iterable[str], role: str) -> None:
    for schema in schemas:
        target.execute(
            f"GRANT {rights} ON SCHEMA {quoted(schema)} TO {quoted(role)}".encode(*AS_BYTES)
        )


def _tampered(family: Family, author: str) -> BackupError:
    return BackupError(
        "postgres.tampered",
        f"{family.target}: while it was made, code of {quoted(author)} put something else in its "
        "place",
        "look at the functions that it calls before you trust that role again",
    )


def _may_no_longer(author: str, error: psycopg.Error) -> BackupError:
    return BackupError(
        _MAY_NOT,
        f"PostgreSQL: what {quoted(author)} owned runs its code, and it lacks a right that it had "
        f"({said(error)})",
        f"grant that to {quoted(author)}; or trust its code with your own rights (--no-owner)",
    )
