"""Runs what evaluates the code of an owner with the rights of that owner, and no more.

CHECKs, generated columns, domains and the keys of partitions call functions that the owner of the
table chose: when rows are loaded, and a domain even where a literal of it is only named in a
definition. A superuser who does that would run them as one: such code can undo SET ROLE and SET
SESSION AUTHORIZATION, and a trigger that it defers runs at the commit. PostgreSQL knows a safe
place, in which it builds indexes and refreshes materialized views: with the rights of their owner,
where roles cannot be changed, nothing can be deferred and settings are put back. So such a table
is made and filled while a materialized view of its owner is refreshed.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# All that is evaluated for each row that a COPY brings: CHECKs of the table and of the domains
# that its types are made of, generated columns, and the keys that tell its partition. Likewise for
# each literal of some types.
_EXPRESSIONS = """
WITH RECURSIVE tree AS (
  SELECT %(table)s::oid AS relid UNION SELECT relid FROM pg_partition_ancestors(%(table)s::oid)
), made_of (oid) AS (
  SELECT atttypid FROM pg_attribute WHERE attrelid = %(table)s::oid AND NOT attisdropped
   UNION
  SELECT unnest(%(types)s::oid[])
   UNION
  SELECT part.oid
    FROM made_of m JOIN pg_type t ON t.oid = m.oid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid AND NOT a.attisdropped
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem), (r.rngsubtype), (a.atttypid))
         AS part (oid)
   WHERE part.oid <> 0
)
SELECT conbin::text FROM pg_constraint
 WHERE contype = 'c' AND (conrelid = %(table)s::oid OR contypid IN (SELECT oid FROM made_of))
 UNION ALL
SELECT d.adbin::text FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid
   AND a.attnum = d.adnum
 WHERE d.adrelid = %(table)s::oid AND a.attgenerated <> ''
 UNION ALL
SELECT partexprs::text FROM pg_partitioned_table
 WHERE partrelid IN (SELECT relid FROM tree) AND partexprs IS NOT NULL
"""
# PostgreSQL's own functions that only compute or read. Its volatile ones write files, end sessions
# and run statements.
_FOREIGN_CODE = """
SELECT EXISTS (
  SELECT FROM unnest(%s::oid[]) AS f (oid) LEFT JOIN pg_proc p USING (oid)
   WHERE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile = 'v')
    OR EXISTS (
  SELECT FROM unnest(%s::oid[]) AS f (oid) LEFT JOIN pg_operator o USING (oid)
    LEFT JOIN pg_proc p ON p.oid = o.oprcode
   WHERE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile = 'v')
"""
_FUNCTION = re.compile(r":(?:op)?func(?:id|oid)? (\d+)")
_OPERATOR = re.compile(r":opno (\d+)")
_OPERATORS = re.compile(r":opnos \(o ([\d ]+)\)")


def evaluates_code(connection: "Connection", table: int, types: Sequence[int] = ()) -> bool:
    """Return whether functions run that are not PostgreSQL's harmless ones.

    table: into which rows are loaded, or 0. types: of which literals are read.
    """
    given = {"table": table, "types": list(types)}
    found = connection.execute(_EXPRESSIONS.encode(), given)
    return runs_foreign_code(connection, [text for (text,) in found])


def runs_foreign_code(connection: "Connection", expressions: Sequence[str]) -> bool:
    """Return whether expressions, as the catalogs store them, call what is not harmless."""
    functions = _found(_FUNCTION, expressions)
    operators = _found(_OPERATOR, expressions)
    for listed in (group for text in expressions for group in _OPERATORS.findall(text)):
        operators |= set(map(int, listed.split()))
    ((code,),) = connection.execute(_FOREIGN_CODE, (sorted(functions), sorted(operators)))
    return bool(code)


def run_as(target: "Connection", prefix: str, owner: str, query: bytes) -> int:
    """Run statements with the rights of the owner, and return the number that the last one does.

    prefix: of the stage's schemas; one more is made for the time being. Raises psycopg.Error.
    """
    schema = quoted(f"{prefix}_as")
    step, role = f"{schema}.step", quoted(owner)
    made = f"CREATE FUNCTION {step}() RETURNS bigint LANGUAGE sql AS ".encode(*AS_BYTES)
    with target.transaction():
        for statement in (
            "SET LOCAL check_function_bodies = off",
            f"CREATE SCHEMA {schema}",
            f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",
        ):
            target.execute(statement.encode(*AS_BYTES))
        target.execute(made + _literal(query))
        for statement in (
            f"ALTER FUNCTION {step} OWNER TO {role}",
            f"CREATE MATERIALIZED VIEW {step} AS SELECT {step}() AS number WITH NO DATA",
            f"ALTER MATERIALIZED VIEW {step} OWNER TO {role}",
            # Else the code could put a view of its own in the place of what we read afterwards.
            f"REVOKE CREATE ON SCHEMA {schema} FROM {role}",
            f"REFRESH MATERIALIZED VIEW {step}",
        ):
            target.execute(statement.encode(*AS_BYTES))
        ((number,),) = target.execute(f"TABLE {step}".encode(*AS_BYTES))
        for statement in (
            f"DROP MATERIALIZED VIEW {step}",
            f"DROP FUNCTION {step}",
            f"DROP SCHEMA {schema}",
        ):
            target.execute(statement.encode(*AS_BYTES))
    return int(number)


def _literal(text: bytes) -> bytes:
    return b" E'" + text.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"


def _found(pattern: re.Pattern[str], expressions: Iterable[str]) -> set[int]:
    found = (number for text in expressions for number in pattern.findall(text))
    return {int(number) for number in found if number != "0"}
