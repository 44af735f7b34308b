"""The ties of a table by replication: publications, subscriptions, replica identity.

What replaces a live table takes that over from it, with its statistics targets; what was dropped
takes its publications from the snapshot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.target import Existing, attempt

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_PUBLICATIONS = """
SELECT p.pubname::text, c.oid::regclass::text,
       coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY n) || ')'
                   FROM unnest(r.prattrs) WITH ORDINALITY AS u (attnum, n)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum), '')
       || coalesce(' WHERE (' || pg_get_expr(r.prqual, c.oid) || ')', '')
  FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_class c ON c.oid = r.prrelid
 WHERE c.oid = ANY(%s::oid[]) ORDER BY 1, 2
"""
_SUBSCRIPTIONS = """
SELECT s.subname::text, s.oid::int8, quote_literal(r.srrelid::regclass),
       quote_nullable(r.srsublsn)
  FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
 WHERE r.srrelid = ANY(%s::oid[]) ORDER BY 1, 3
"""
_SUBSCRIBE = "INSERT INTO pg_subscription_rel VALUES ({}, {}::regclass, 'r', {})"
_REPLICATED = """
SELECT c.oid::regclass::text,
       CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
                           ELSE 'USING INDEX ' || quote_ident(i.relname) END
  FROM pg_class c
  LEFT JOIN pg_index x ON x.indrelid = c.oid AND x.indisreplident
  LEFT JOIN pg_class i ON i.oid = x.indexrelid
 WHERE c.oid = ANY(%s::oid[]) AND c.relkind IN ('r', 'p') AND c.relreplident <> 'd' ORDER BY 1
"""
_STATISTICS = """
SELECT format('ALTER TABLE ONLY %%s ALTER %%I SET STATISTICS %%s', attrelid::regclass, attname,
              attstattarget)
  FROM pg_attribute
 WHERE attrelid = ANY(%s::oid[]) AND attnum > 0 AND NOT attisdropped AND attstattarget >= 0
 ORDER BY 1
"""
_TREE = "SELECT %(oid)s::oid::int8 UNION SELECT relid::int8 FROM pg_partition_tree(%(oid)s)"


@dataclass(frozen=True, slots=True)
class Membership:
    """A statement that gives a table what another one had, once it is in its place."""

    statement: str
    lost: str  # what is not as it was where that fails; empty if nobody misses it

    def apply(self, target: "Connection") -> Iterator[str]:
        """Run it; yield a note if the target refuses it."""
        why_not = attempt(target, self.statement)
        if why_not is not None and self.lost:
            yield f"{self.lost}: {why_not}"


def memberships_of_live(target: "Connection", doomed: Existing) -> list[Membership]:
    """Return what a table that will be dropped leaves to the one that takes its place."""
    oids = [oid for (oid,) in target.execute(_TREE, {"oid": doomed.oid})]
    found = _publications(target, oids)
    for name, subscription, table, position in target.execute(_SUBSCRIPTIONS, (oids,)):
        refresh = f"ALTER SUBSCRIPTION {quoted(name)} REFRESH PUBLICATION WITH (copy_data = false)"
        lost = f"it gets nothing from subscription {quoted(name)} until {refresh}"
        found.append(Membership(_SUBSCRIBE.format(subscription, table, position), lost))
    for table, identity in target.execute(_REPLICATED, (oids,)):
        statement = f"ALTER TABLE ONLY {table} REPLICA IDENTITY {identity}"
        found.append(Membership(statement, f"the replica identity of {table} is not {identity}"))
    for (statement,) in target.execute(_STATISTICS, (oids,)):
        found.append(Membership(statement, ""))
    return found


def memberships_of_stored(scratch: "Connection", family: Family) -> list[Membership]:
    """Return what a table had that was dropped since and comes back under its name."""
    if not family.in_place:
        return []
    return _publications(scratch, [table.oid for table in family.tables])


def _publications(connection: "Connection", oids: Sequence[int]) -> list[Membership]:
    return [
        Membership(
            f"ALTER PUBLICATION {quoted(name)} ADD TABLE ONLY {table}{limits}",
            f"{table} is not in publication {quoted(name)} again",
        )
        for name, table, limits in connection.execute(_PUBLICATIONS, (oids,))
    ]
