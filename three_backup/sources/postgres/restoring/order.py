"""The order in which families are restored: what others refer to comes first."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from three_backup.sources.postgres.restoring.family import VIEWS, Family
from three_backup.sources.postgres.restoring.refusals import TargetState

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# What depends on what. What belongs to a table counts as the table: its defaults, rules, policies,
# indexes, row type. Foreign keys do not count: they are added one by one.
_DEPENDENCIES = """
WITH part (classid, objid, ofclass, ofobj) AS (
  SELECT 'pg_attrdef'::regclass::oid, oid, 'pg_class'::regclass::oid, adrelid FROM pg_attrdef
   UNION ALL
  SELECT 'pg_constraint'::regclass, oid,
         CASE conrelid WHEN 0 THEN 'pg_type'::regclass ELSE 'pg_class'::regclass END,
         CASE conrelid WHEN 0 THEN contypid ELSE conrelid END FROM pg_constraint
   UNION ALL SELECT 'pg_rewrite'::regclass, oid, 'pg_class'::regclass, ev_class FROM pg_rewrite
   UNION ALL SELECT 'pg_policy'::regclass, oid, 'pg_class'::regclass, polrelid FROM pg_policy
   UNION ALL SELECT 'pg_trigger'::regclass, oid, 'pg_class'::regclass, tgrelid FROM pg_trigger
   UNION ALL SELECT 'pg_class'::regclass, indexrelid, 'pg_class'::regclass, indrelid FROM pg_index
   UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 'pg_class'::regclass, stxrelid
               FROM pg_statistic_ext
   UNION ALL SELECT 'pg_type'::regclass, y.oid, 'pg_class'::regclass, r.typrelid
               FROM pg_type y JOIN pg_type r ON r.oid IN (y.oid, y.typelem)
              WHERE r.typrelid <> 0
), foreign_key AS (SELECT oid FROM pg_constraint WHERE contype = 'f')
SELECT coalesce(f.ofclass, d.classid)::int8, coalesce(f.ofobj, d.objid)::int8,
       coalesce(t.ofclass, d.refclassid)::int8, coalesce(t.ofobj, d.refobjid)::int8
  FROM pg_depend d
  LEFT JOIN part f USING (classid, objid)
  LEFT JOIN part t ON t.classid = d.refclassid AND t.objid = d.refobjid
 WHERE d.objid >= 16384 AND d.refobjid >= 16384 AND d.deptype <> 'e'
   AND NOT (d.classid = 'pg_constraint'::regclass AND d.objid IN (TABLE foreign_key))
   AND NOT (d.refclassid = 'pg_constraint'::regclass AND d.refobjid IN (TABLE foreign_key))
"""
_FOREIGN_KEYS = "SELECT conrelid::int8, confrelid::int8 FROM pg_constraint WHERE contype = 'f'"
_HOLD_ROWS = """
SELECT 'pg_class'::regclass::int8, oid::int8 FROM pg_class WHERE relkind IN ('r', 'p', 'f', 'm')
"""

# Their rows may name other objects.
_NAMING = """
SELECT DISTINCT a.attrelid::int8
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type e ON e.oid IN (t.typbasetype, t.typelem)
 WHERE a.attrelid >= 16384 AND a.attnum > 0
   AND EXISTS (SELECT FROM pg_type r WHERE r.oid IN (t.oid, e.oid, e.typelem)
                  AND r.typnamespace = 'pg_catalog'::regnamespace AND r.typname ~ '^reg')
"""
_PG_CLASS, _PG_NAMESPACE = 1259, 2615  # in every database

_SIZES = "SELECT oid::int8, pg_table_size(oid) FROM unnest(%s::oid[]) AS oid"
_TAKEN_APART = """
SELECT inhrelid::int8 FROM pg_inherits WHERE inhrelid = ANY(%(oids)s::oid[])
 UNION
SELECT objid::int8 FROM pg_depend
 WHERE deptype = 'e' AND classid = 'pg_class'::regclass AND objid = ANY(%(oids)s::oid[])
"""
_MOST_TOGETHER = 100
_LARGEST_TOGETHER = 128 << 20
"""How many families, and bytes of them, come in one transaction although they need not."""

_Node = tuple[int, int]  # class and oid
_Steps = Mapping[_Node, set[_Node]]
_References = Mapping[int, Sequence[Family]]  # by the oid of the root that refers


def in_batches(
    scratch: "Connection", groups: Sequence[list[Family]], standing: TargetState
) -> Iterator[list[list[Family]]]:
    """Join neighbours among the groups whose families are small, new to the target, and need
    nothing but their schema: what a restore does once for each transaction costs more than they.
    """
    plain = _plain(scratch, [group[0] for group in groups if len(group) == 1], standing)
    batch: list[list[Family]] = []
    size = 0
    for group in groups:
        own = plain.get(group[0].root.oid, _LARGEST_TOGETHER + 1)
        elsewhere = batch and batch[0][0].target.level1 != group[0].target.level1
        full = len(batch) == _MOST_TOGETHER or size + own > _LARGEST_TOGETHER
        if batch and (full or elsewhere):
            yield batch
            batch, size = [], 0
        batch.append(group)
        size += own
    if batch:
        yield batch


def _plain(
    scratch: "Connection", families: Sequence[Family], standing: TargetState
) -> dict[int, int]:
    """Return the bytes of the families that may share a transaction, by the oids of their roots.

    A second attempt must find them as they were: nothing is taken out of a parent or an extension.
    What rows name must be there before.
    """
    naming = {oid for (oid,) in scratch.execute(_NAMING)}
    alone = [
        family
        for family in families
        if family.root.kind not in VIEWS
        and family.object not in standing.replaced
        and naming.isdisjoint(table.oid for table in family.tables)
    ]
    oids = [part.oid for family in alone for part in family.members]
    apart = {oid for (oid,) in scratch.execute(_TAKEN_APART, {"oids": oids})}
    steps = _steps(scratch, set())
    sizes = dict(scratch.execute(_SIZES, ([t.oid for f in alone for t in f.tables],)).fetchall())
    return {
        family.root.oid: sum(sizes[table.oid] for table in family.tables)
        for family in alone
        if apart.isdisjoint(part.oid for part in family.members) and _needs_nothing(family, steps)
    }


def _needs_nothing(family: Family, steps: _Steps) -> bool:
    """Tell whether the family needs no function, type or other relation."""
    own = {(_PG_CLASS, part.oid) for part in family.members}
    needed = {node for one in own for node in steps.get(one, ())} - own
    return all(classid == _PG_NAMESPACE for classid, _ in needed)


def in_order(
    scratch: "Connection", families: Iterable[Family], standing: TargetState
) -> list[list[Family]]:
    """Order the families for their restore, and group those that must be restored together.

    Tables come before views, those whose rows may name other objects late, older before younger
    ones, but what others refer to always comes first; a circle of foreign keys may start anywhere.
    Families share a group where each needs the other, or where one can only be replaced with the
    other: the target ties them, or one refers to a tied one that is replaced.
    """
    naming = {oid for (oid,) in scratch.execute(_NAMING)}
    ranked = sorted(families, key=partial(_rank, naming))
    needed = _needed(scratch, ranked)
    referred = _with_foreign_keys(scratch, ranked, needed)
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
    ties += _circles(ranked, needed)
    return _group_tied(_first_things_first(ranked, referred), ties)


def _needed(scratch: "Connection", families: Sequence[Family]) -> _References:
    """Return which other families each one needs, be it by way of functions, types or views."""
    by_node = {node: family for family in families for node in _nodes(family)}
    strangers = set(scratch.execute(_HOLD_ROWS.encode())) - by_node.keys()
    steps = _steps(scratch, strangers)  # what strangers need is there, or they could not be
    needed = {}
    for family in families:
        found: dict[int, Family] = {}
        waiting = _nodes(family)
        reached = set(waiting)
        while waiting:
            for node in steps.get(waiting.pop(), set()) - reached:
                reached.add(node)
                if node in by_node:
                    found[by_node[node].root.oid] = by_node[node]
                else:
                    waiting.append(node)
        needed[family.root.oid] = list(found.values())
    return needed


def _steps(scratch: "Connection", strangers: Collection[_Node]) -> _Steps:
    """Return what each thing of the database, but for the strangers, needs directly."""
    steps: dict[_Node, set[_Node]] = {}
    for classid, oid, refclassid, refoid in scratch.execute(_DEPENDENCIES.encode()):
        if (classid, oid) not in strangers:
            steps.setdefault((classid, oid), set()).add((refclassid, refoid))
    return steps


def _nodes(family: Family) -> list[_Node]:
    return [(_PG_CLASS, table.oid) for table in family.tables]


def _with_foreign_keys(
    scratch: "Connection", families: Sequence[Family], needed: _References
) -> dict[int, list[Family]]:
    by_table = {table.oid: family for family in families for table in family.tables}
    referred = {root: list(others) for root, others in needed.items()}
    for table, other in scratch.execute(_FOREIGN_KEYS):
        if table in by_table and other in by_table:
            referred[by_table[table].root.oid].append(by_table[other])
    return referred


def _circles(ranked: Sequence[Family], needed: _References) -> Iterator[tuple[Family, Family]]:
    """Yield pairs that tie all families of a circle together (Kosaraju's algorithm)."""
    needing: dict[int, list[Family]] = {}
    by_root = {family.root.oid: family for family in ranked}
    for root, others in needed.items():
        for other in others:
            needing.setdefault(other.root.oid, []).append(by_root[root])
    seen: set[int] = set()
    for first in reversed(_first_things_first(ranked, needed)):
        waiting = [first]
        while waiting:
            family = waiting.pop()
            if family.root.oid not in seen:
                seen.add(family.root.oid)
                waiting += needing.get(family.root.oid, ())
                yield first, family


def _rank(naming: Collection[int], family: Family) -> tuple[bool, bool, int]:
    names = any(table.oid in naming for table in family.tables)
    return family.root.kind in VIEWS, names, family.root.oid


def _first_things_first(ranked: Sequence[Family], referred: _References) -> list[Family]:
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
