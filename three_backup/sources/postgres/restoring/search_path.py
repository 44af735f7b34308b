"""Functions that name others without their schema find them again, as they did at the source.

A restore reads with an empty search path, and PostgreSQL itself builds indexes with one that holds
no schema of users. What such functions said of the rows of a table was true at the source: where
they fail, they run once more with the search path that they had there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import psycopg

from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.needs import Need
from three_backup.sources.postgres.restoring.things import address_of_source, read_owners
from three_backup.sources.postgres.spelling import bytes_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_SEARCH_PATH = """
SELECT split_part(setting, '=', 2)
  FROM pg_db_role_setting CROSS JOIN LATERAL unnest(setconfig) AS setting
 WHERE setting LIKE 'search_path=%%'
   AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND setrole IN (0, coalesce((SELECT oid FROM pg_roles WHERE textsend(rolname::text) = %s), 0))
 ORDER BY setrole = 0, setdatabase = 0 LIMIT 1
"""
_USUAL = '"$user", public'
_WITHOUT_PATH = """
SELECT format('ROUTINE %%s', oid::regprocedure) FROM pg_proc
 WHERE oid IN (SELECT to_regprocedure(name) FROM unnest(%s::text[]) AS name) AND prokind <> 'a'
   AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%%')
"""
# The schemas in which only superusers and we may create.
_TRUSTED = """
SELECT quote_ident(s.name)
  FROM unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s (name, n)
  JOIN pg_catalog.pg_namespace k ON k.nspname = s.name
 WHERE NOT EXISTS (
   SELECT FROM pg_catalog.aclexplode(
            coalesce(k.nspacl, pg_catalog.acldefault('n', k.nspowner))) AS a
     LEFT JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
     LEFT JOIN pg_catalog.pg_roles r
       ON r.oid = CASE a.grantee WHEN 'pg_database_owner'::regrole THEN d.datdba ELSE a.grantee END
    WHERE a.privilege_type = 'CREATE'
      AND (r.rolsuper OR r.rolname = current_user) IS NOT TRUE)
 ORDER BY s.n
"""
_SET = "SELECT pg_catalog.set_config('search_path', %s, true)"
_UNDEFINED = (
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SourcePath:
    """The search path that the functions of a table had at the source."""

    scratch: "Connection"
    target: "Connection"
    owner: str  # of the table
    functions: Sequence[str]  # with schema and arguments
    schemas: Sequence[str]  # those of the table and of the functions are looked through at last
    closed: bool  # whoever restores runs them: nothing counts that others may have put there

    @classmethod
    def of(
        cls,
        scratch: "Connection",
        target: "Connection",
        family: Family,
        needs: Sequence[Need],
        *,
        closed: bool,
    ) -> Self:
        source = address_of_source(family.root)
        code = [need for need in needs if need.is_code]
        schemas = dict.fromkeys([family.root.source.schema, *(need.schema for need in code)])
        return cls(
            scratch,
            target,
            read_owners(scratch, [source])[source],
            [need.identity for need in code],
            list(schemas),
            closed,
        )

    def helps(self, action: Callable[[], _T]) -> _T:
        """Do it; if a function does not find what it names, once more with this search path."""
        try:
            with self.target.transaction():
                return action()
        except _UNDEFINED:
            altered = [name for (name,) in self.target.execute(_WITHOUT_PATH, (self.functions,))]
            if not altered:
                raise
        self._alter(altered, "SET search_path FROM CURRENT")
        result = action()
        self._alter(altered, "RESET search_path")
        return result

    def _alter(self, routines: Sequence[str], change: str) -> None:
        self.target.execute(_SET, (self._path(),))
        if self.closed:
            trusted = self.target.execute(_TRUSTED).fetchall()
            self.target.execute(_SET, (", ".join(name for (name,) in trusted),))
        for routine in routines:
            self.target.execute(f"ALTER {routine} {change}".encode(*AS_BYTES))
        self.target.execute(_SET, ("",))

    def _path(self) -> str:
        row = self.scratch.execute(_SEARCH_PATH, (bytes_of(self.scratch, self.owner),)).fetchone()
        usual = _USUAL if row is None else str(row[0])
        return ", ".join([usual, *map(quoted, self.schemas)])
