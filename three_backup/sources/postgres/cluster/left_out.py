"""The tables of a restored cluster whose rows no snapshot has, and a script to make them usable.

Their files exist with length 0, so that PostgreSQL starts and takes the tables for empty. An index
file of length 0 is not a valid index, however: the script repairs that after the first start.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.chain.links import database_of
from three_backup.sources.postgres.index import Index
from three_backup.sources.postgres.mapping import relation_of

SCRIPT = "tb-restore-left-out.sql"

_MOST_NAMED = 20
_INIT = "_init"
_BEGIN = """\
-- Made by tb-restore. The snapshot has no rows of some tables: they are empty, and their indexes
-- are not even that. Run this once, as a superuser, when the server has started:
--     psql -X -d postgres -f {script}
-- A table that other tables refer to is reindexed only: see that the rows that refer to it go.
\\set ON_ERROR_STOP on
-- It takes connections a moment before it can be written to.
DO $$ BEGIN WHILE pg_is_in_recovery() LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;
-- Names are taken byte for byte, whatever encoding they are in.
SET client_encoding = 'SQL_ASCII';
"""
# A table is recognised by the path of its file: no other table has it, and a table that was
# truncated or refreshed has a new one. psql exits where it cannot connect, whatever ON_ERROR_STOP
# says, so closed databases are skipped.
_MEND = """
SELECT coalesce(min(datname::text), '') AS database,
       coalesce(bool_or(datallowconn), false) AS open,
       coalesce(bool_or(NOT datallowconn), false) AS closed
  FROM pg_database WHERE oid = {number} AND datconnlimit <> -2 \\gset
\\if :closed
\\warn database :"database" takes no connections, so its tables were not mended: run
\\warn ALTER DATABASE :"database" ALLOW_CONNECTIONS true, and this script again
\\elif :open
\\connect :"database"
SET client_encoding = 'SQL_ASCII';
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
\\endif
"""
_END = "\nALTER SYSTEM RESET ignore_invalid_pages;\n"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The tables whose rows are missing."""

    objects: tuple[ObjectId, ...]  # the tables, as far as their names are known
    relations: tuple[str, ...]  # all their relations, each as the path of its first file
    files: tuple[str, ...]  # the files that have to exist without content
    unread: tuple[str, ...]  # the databases in which some of these tables have no known names

    def script(self, directory: Path) -> str:
        """Return SQL for psql that makes the tables and their indexes usable."""
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
        parts = [", ".join(map(str, self.objects[:_MOST_NAMED]))] if self.objects else []
        if len(self.objects) > _MOST_NAMED:
            parts[0] += f" and {len(self.objects) - _MOST_NAMED} more"
        if self.unread:
            parts.append(f"tables that were not readable in {', '.join(self.unread)}")
        return " and of ".join(parts)


def left_out_of(newest: Index, paths: Collection[str]) -> LeftOut:
    """Return the tables to which the paths belong: relation files that no snapshot has."""
    relations = {relation for path in paths if (relation := relation_of(path)) is not None}
    return LeftOut(
        tuple(
            object_id
            for object_id, known in sorted(newest.objects.items())
            if not relations.isdisjoint(known)
        ),
        tuple(sorted(relations)),
        tuple(sorted(path for path in paths if path.removesuffix(_INIT) in relations)),
        tuple(_unread(newest, relations)),
    )


def _unread(newest: Index, relations: set[str]) -> Iterator[str]:
    """Yield the databases of relations without an object, by oid where no object names them."""
    names = {
        database_of(relation): object_id.level1
        for object_id, known in newest.objects.items()
        for relation in known
    }
    nameless = relations.difference(*newest.objects.values())
    for number in sorted({database_of(relation) or "" for relation in nameless}):
        yield f"database {names[number]}" if number in names else f"the database of oid {number}"
