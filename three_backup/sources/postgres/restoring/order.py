"""The order in which families are restored: what others refer to comes first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from three_backup.sources.postgres.restoring.family import VIEWS, Family
from three_backup.sources.postgres.restoring.refusals import TargetState

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# Views, inheritance, columns of a table's row type, foreign keys: what refers, and to what.
_REFERENCES = """
SELECT r.ev_class::int8, d.refobjid::int8
  FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
 WHERE d.refclassid = 'pg_class'::regclass
 UNION
SELECT inhrelid::int8, inhparent::int8 FROM pg_inherits
 UNION
SELECT d.objid::int8, coalesce(nullif(t.typrelid, 0), e.typrelid)::int8
  FROM pg_depend d JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
  LEFT JOIN pg_type e ON e.oid = t.typelem
 WHERE d.classid = 'pg_class'::regclass AND coalesce(nullif(t.typrelid, 0), e.typrelid) <> 0
 UNION
SELECT conrelid::int8, confrelid::int8 FROM pg_constraint WHERE contype = 'f'
"""


def in_order(
    scratch: "Connection", families: Iterable[Family], standing: TargetState
) -> list[list[Family]]:
    """Order the families for their restore, and group those that must be restored together.

    Tables come before views, older before younger ones, but what others refer to always comes
    first; a circle of references may start anywhere. Families share a group where one can only be
    replaced with the other: the target ties them, or one refers to a tied one that is replaced.
    """
    ranked = sorted(families, key=_rank)
    referred = _references(scratch, ranked)
    ordered = _first_things_first(ranked, referred)
    by_object = {family.object: family for family in ranked}
    ties = [
        (by_object[one], by_object[other])
        for one, other in standing.tied
        if one in by_object and other in by_object
    ]
    tied = {family.root.oid for pair in ties for family in pair}
    ties += [
        (family, other)
        for family in ranked
        for other in referred.get(family.root.oid, ())
        if other.root.oid in tied and other.object in standing.replaced
    ]
    return _group_tied(ordered, ties)


def _references(scratch: "Connection", families: Sequence[Family]) -> dict[int, list[Family]]:
    """Return which other families each one refers to, by the oid of its root."""
    by_table = {table.oid: family for family in families for table in family.tables}
    referred: dict[int, list[Family]] = {}
    for table, other in scratch.execute(_REFERENCES):
        if table in by_table and other in by_table:
            referred.setdefault(by_table[table].root.oid, []).append(by_table[other])
    return referred


def _rank(family: Family) -> tuple[bool, int]:
    return family.root.kind in VIEWS, family.root.oid


def _first_things_first(
    ranked: Sequence[Family], referred: Mapping[int, Sequence[Family]]
) -> list[Family]:
    ordered: dict[int, Family] = {}
    entered: set[int] = set()
    path = [(family, False) for family in reversed(ranked)]
    while path:
        family, done = path.pop()
        if done:
            ordered[family.root.oid] = family
        elif family.root.oid not in entered:
            entered.add(family.root.oid)
            path.append((family, True))
            path += [(other, False) for other in referred.get(family.root.oid, ())]
    return list(ordered.values())


def _group_tied(
    ordered: Sequence[Family], ties: Iterable[tuple[Family, Family]]
) -> list[list[Family]]:
    """Group families tied directly or through others, each at its last member's position."""
    leader = {family.root.oid: family.root.oid for family in ordered}

    def led_by(oid: int) -> int:
        while leader[oid] != oid:
            oid = leader[oid]
        return oid

    for one, other in ties:
        leader[led_by(one.root.oid)] = led_by(other.root.oid)
    groups: dict[int, list[Family]] = {}
    for family in ordered:
        group = groups.pop(led_by(family.root.oid), [])
        groups[led_by(family.root.oid)] = [*group, family]
    return list(groups.values())
