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
from collections.abc import Iterable
from typing import TYPE_CHECKING

import psycopg

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.spelling import bytes_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

# All that is evaluated for each row that a COPY brings: CHECKs of the table and of the domains
# that its types are made of, generated columns, and the keys that tell its partition.
_EXPRESSIONS = """
WITH RECURSIVE tree AS (
  SELECT %(table)s::oid AS relid UNION SELECT relid FROM pg_partition_ancestors(%(table)s::oid)
), made_of (oid) AS (
  SELECT atttypid FROM pg_attribute WHERE attrelid = %(table)s::oid AND NOT attisdropped
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
_SEARCH_PATH = """
SELECT split_part(setting, '=', 2)
  FROM pg_db_role_setting CROSS JOIN LATERAL unnest(setconfig) AS setting
 WHERE setting LIKE 'search_path=%%'
   AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND setrole IN (0, coalesce((SELECT oid FROM pg_roles WHERE textsend(rolname::text) = %s), 0))
 ORDER BY setrole = 0, setdatabase = 0 LIMIT 1
"""
_USUAL_SEARCH_PATH = '"$user", public'
_UNQUALIFIED = (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedTable)


def evaluates_code(scratch: "Connection", table: int) -> bool:
    """Return whether loading rows runs functions that are not PostgreSQL's harmless ones."""
    expressions = [text for (text,) in scratch.execute(_EXPRESSIONS, {"table": table})]
    functions = _found(_FUNCTION, expressions)
    operators = _found(_OPERATOR, expressions)
    for listed in (group for text in expressions for group in _OPERATORS.findall(text)):
        operators |= set(map(int, listed.split()))
    ((code,),) = scratch.execute(_FOREIGN_CODE, (sorted(functions), sorted(operators)))
    return bool(code)


def run_as(
    scratch: "Connection", target: "Connection", prefix: str, owner: str, query: bytes
) -> int:
    """Run statements with the rights of the owner, and return the number that the last one does.

    prefix: of the stage's schemas; one more is made for the time being. Where a function of the
    owner names others without their schema, the query is run again with the search path that the
    owner had at the source. Raises psycopg.Error.
    """
    schema = quoted(f"{prefix}_as")
    try:
        return _run(target, schema, owner, query)
    except _UNQUALIFIED:
        path = _literal(_search_path(scratch, owner).encode(*AS_BYTES))
        set_path = b"SELECT pg_catalog.set_config('search_path', %b, true); " % path
        return _run(target, schema, owner, set_path + query)


def _run(target: "Connection", schema: str, owner: str, query: bytes) -> int:
    step, role = f"{schema}.step", quoted(owner)
    with target.transaction():
        target.execute("SET LOCAL check_function_bodies = off")
        for statement in (
            f"CREATE SCHEMA {schema}",
            f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",
        ):
            target.execute(statement.encode(*AS_BYTES))
        made = f"CREATE FUNCTION {step}() RETURNS bigint LANGUAGE sql AS ".encode(*AS_BYTES)
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


def _search_path(scratch: "Connection", owner: str) -> str:
    row = scratch.execute(_SEARCH_PATH, (bytes_of(scratch, owner),)).fetchone()
    return _USUAL_SEARCH_PATH if row is None else str(row[0])


def _found(pattern: re.Pattern[str], expressions: Iterable[str]) -> set[int]:
    found = (number for text in expressions for number in pattern.findall(text))
    return {int(number) for number in found if number != "0"}
