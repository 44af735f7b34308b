"""The tables of a restored cluster whose rows no snapshot has, and what makes them usable again.

Their files are there, of no length, so that PostgreSQL starts and takes the tables for empty. An
index of no length is none, however: a script mends that after the first start.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from three_backup.objects import ObjectId
from three_backup.sources.postgres.index import Index
from three_backup.sources.postgres.mapping import relation_of
from three_backup.sources.postgres.restoring.chain import database_of

SCRIPT = "tb-restore-left-out.sql"

_MOST_NAMED = 20
_INIT = "_init"
_BEGIN = """\
-- Made by tb-restore. The snapshot has no rows of some tables: they are empty, and their indexes
-- are not even that. Run this once, as a superuser, when the server has started:
--     psql -X -d postgres -f {script}
-- A table that other tables refer to is reindexed only: see that the rows that refer to it go.
\\set ON_ERROR_STOP on
"""
# A table is known by its file, which no other one has; once it is mended it has another file.
_MEND = """
SELECT datname AS database FROM pg_database WHERE oid = {number} \\gset
\\connect :"database"
SET search_path = '';
\\set files '{{{files}}}'
SELECT format(CASE WHEN EXISTS (SELECT FROM pg_constraint AS f
                                 WHERE f.confrelid = c.oid AND f.conrelid <> c.oid)
                   THEN 'REINDEX TABLE %s' ELSE 'TRUNCATE ONLY %s' END, c.oid::regclass)
  FROM pg_class AS c
 WHERE c.relkind = 'r' AND pg_relation_filepath(c.oid) = ANY (:'files'::text[]) \\gexec
SELECT format('REFRESH MATERIALIZED VIEW %s', c.oid::regclass)
  FROM pg_class AS c
 WHERE c.relkind = 'm' AND pg_relation_filepath(c.oid) = ANY (:'files'::text[]) \\gexec
"""
_END = "\nALTER SYSTEM RESET ignore_invalid_pages;\n"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """objects: the tables whose rows are not there, as far as they have names; relations: all of
    theirs, by the path of the first file; files: what has to be there without content."""

    objects: tuple[ObjectId, ...]
    relations: tuple[str, ...]
    files: tuple[str, ...]

    def script(self, directory: Path) -> str:
        """SQL for psql that makes the tables, and their indexes, usable."""
        by_database: dict[str, list[str]] = {}
        for relation in self.relations:
            by_database.setdefault(database_of(relation) or "", []).append(relation)
        mends = (
            _MEND.format(number=number, files=",".join(relations))
            for number, relations in by_database.items()
        )
        return _BEGIN.format(script=directory / SCRIPT) + "".join(mends) + _END

    def notes(self, directory: Path) -> Iterator[str]:
        if self.relations:
            yield (
                f"no rows of {self._names()} are in it, since they were disabled or never left "
                "the host of the snapshot: they come up empty. When the server has started, run "
                f"psql -X -d postgres -f {directory / SCRIPT}: before that they cannot be used"
            )

    def _names(self) -> str:
        named = ", ".join(map(str, self.objects[:_MOST_NAMED])) or "tables that were not readable"
        more = len(self.objects) - _MOST_NAMED
        return f"{named} and {more} more" if more > 0 else named


def left_out_of(newest: Index, paths: Collection[str]) -> LeftOut:
    """paths: of the relation files that no snapshot has."""
    relations = {relation for path in paths if (relation := relation_of(path)) is not None}
    return LeftOut(
        tuple(
            id for id, known in sorted(newest.objects.items()) if not relations.isdisjoint(known)
        ),
        tuple(sorted(relations)),
        tuple(sorted(path for path in paths if path.removesuffix(_INIT) in relations)),
    )
