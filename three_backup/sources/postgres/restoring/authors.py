"""Tells who makes what comes back: its owner, wherever making it may run code of that role."""

from collections.abc import Sequence

from three_backup.sources.postgres.restoring.as_owner import evaluates_code
from three_backup.sources.postgres.restoring.dump import Author
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.needs import Need, read_needs
from three_backup.sources.postgres.restoring.ownership import Giving
from three_backup.sources.postgres.restoring.things import address_of_source

# What is part of something and made by a statement of its own.
_PARTS = """
SELECT d.refclassid::int8, d.refobjid::int8, d.classid::int8, d.objid::int8
  FROM pg_depend d JOIN unnest(%s::oid[], %s::oid[]) AS whole (classid, objid)
    ON (d.refclassid, d.refobjid) = (whole.classid, whole.objid)
 WHERE d.deptype = 'a' AND d.classid IN ('pg_constraint'::regclass, 'pg_attrdef'::regclass,
                                         'pg_rewrite'::regclass, 'pg_trigger'::regclass)
"""
_TYPES = "SELECT to_regtype(name)::oid::int8 FROM unnest(%s::text[]) AS name"
_TYPE = "type"


def authors_of(
    giving: Giving, families: Sequence[Family], needs: Sequence[Need], lacking: Sequence[Need]
) -> dict[int, Author]:
    """Return who defines each family: its owner, if it calls functions of users."""
    reads_literals = _reading_runs_code(giving, needs, lacking)
    authors = dict[int, Author]()
    for family in families:
        own = needs if len(families) == 1 else read_needs(giving.scratch, [family])
        has_code = reads_literals or any(need.is_code for need in own)
        source = address_of_source(family.root)
        authors[family.root.oid] = giving.author(source, str(family.target)) if has_code else None
    return authors


def authors_of_needs(
    giving: Giving, needs: Sequence[Need], lacking: Sequence[Need]
) -> dict[tuple[int, int], Author]:
    """Return who makes what lacks, and the parts of it: its owner, if reading it may run code."""
    runs_code = _reading_runs_code(giving, needs, lacking)
    authors = dict[tuple[int, int], Author]()
    for need in lacking:
        if not need.is_schema:
            source = (need.classid, need.oid)
            own = runs_code and need.for_all
            authors[source] = giving.author(source, str(need)) if own else None
    classes, oids = [one for one, _ in authors], [oid for _, oid in authors]
    for classid, oid, part_class, part in giving.scratch.execute(_PARTS, (classes, oids)):
        authors[part_class, part] = authors[classid, oid]
    return authors


def _reading_runs_code(giving: Giving, needs: Sequence[Need], lacking: Sequence[Need]) -> bool:
    """Return whether literals are of a domain whose CHECK runs code, here or at the source."""
    types = [need for need in needs if need.type == _TYPE]
    there = [need.identity for need in types if need not in lacking]
    here = [oid for (oid,) in giving.target.execute(_TYPES, (there,)) if oid is not None]
    return evaluates_code(giving.scratch, 0, [need.oid for need in types]) or evaluates_code(
        giving.target, 0, here
    )
