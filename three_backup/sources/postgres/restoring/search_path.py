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

    @classmethod
    def of(
        cls, scratch: "Connection", target: "Connection", family: Family, needs: Sequence[Need]
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
        for routine in routines:
            self.target.execute(f"ALTER {routine} {change}".encode(*AS_BYTES))
        self.target.execute(_SET, ("",))

    def _path(self) -> str:
        row = self.scratch.execute(_SEARCH_PATH, (bytes_of(self.scratch, self.owner),)).fetchone()
        usual = _USUAL if row is None else str(row[0])
        return ", ".join([usual, *map(quoted, self.schemas)])
