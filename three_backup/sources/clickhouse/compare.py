"""Compares tables of a snapshot with those of another one, or with the live ones.

The server attaches what lies in S3 and compares by itself. A table has no key that tells rows
apart, so they are compared as multisets: by hashes of buckets first, then row by row where those
differ.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import ObjectId
from three_backup.s3.store import Store
from three_backup.sources.base import AbsentError
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.attached import attached
from three_backup.sources.clickhouse.client import Client, connect
from three_backup.sources.clickhouse.look import Rows, has_rows
from three_backup.sources.comparing import CompareJob, Counts, Difference, changed_lines
from three_backup.sources.jobs import RestoreJob

_COLUMNS = """
SELECT name, type FROM system.columns
 WHERE database = {} AND table = {} AND default_kind NOT IN ('MATERIALIZED', 'ALIAS', 'EPHEMERAL')
 ORDER BY position
"""
_SORTED = "SELECT sorting_key FROM system.tables WHERE database = {} AND name = {}"
_CREATED = "SELECT create_table_query AS text FROM system.tables WHERE database = {} AND name = {}"
_FORMATTED = "SELECT formatQuery({}) AS text"
_BUCKETS = 1 << 16
_MOST_NAMED = 1 << 13
"""So many buckets are named in a statement; if more differ, all rows are compared."""

# RowBinary writes whatever type there is, also NULL, of which functions that hash know nothing.
_DIFFERING = """
SELECT bucket FROM (
  SELECT side, bucket, count() AS rows, sum(hash) AS hashes FROM ({sides})
   GROUP BY side, bucket)
 GROUP BY bucket HAVING count() < 2 OR uniqExact(rows, hashes) > 1
 LIMIT {most} {settings}
"""
_HASHED = (
    "SELECT {side} AS side, cityHash64(formatRowNoNewline({form}, {columns})) AS hash, "
    "hash % {buckets} AS bucket FROM {relation}"
)
_MORE = """
SELECT text, any(key) AS first, sum(sign) AS more FROM ({sides}) GROUP BY text HAVING more != 0
"""
_WRITTEN = (
    "SELECT {sign} AS sign, formatRowNoNewline('CSV', {columns}) AS text, {key} AS key "
    "FROM {relation}{within}"
)
_WITHIN = " WHERE cityHash64(formatRowNoNewline({form}, {columns})) % {buckets} IN ({numbers})"
_COUNTED = "SELECT sumIf(more, more > 0) AS removed, sumIf(-more, more < 0) AS added FROM ({more})"
_PRINTED = """
SELECT concat(if(more > 0, '-', '+'), text) FROM ({more}) ARRAY JOIN range(abs(more)) AS nth
 ORDER BY first, text, more DESC {settings} FORMAT TSVRaw
"""
_SPILLING = (
    "SETTINGS max_bytes_before_external_group_by = 1000000000, "
    "max_bytes_before_external_sort = 1000000000"
)
_UUID = re.compile(r" (?:TO INNER )?UUID '[0-9a-f-]{36}'")
_PIECE = 1 << 20


@contextmanager
def compare(job: CompareJob, store: Store) -> Iterator["Comparison"]:
    """Ask nothing yet: each table is attached when it is compared."""
    if job.repairs:
        raise _no_way_back()
    with ExitStack() as stack:
        yield Comparison(job, store, stack)


@dataclass(frozen=True, slots=True)
class _Found:
    """The two states of a table."""

    earlier: Sequence[str]  # the lines of its definition
    later: Sequence[str]
    names: Sequence[str]  # the columns that are compared
    more: str | None  # the query of what differs; None: no row does


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tables of a job, attached while they are compared."""

    job: CompareJob
    store: Store
    stack: ExitStack
    found: dict[ObjectId, _Found] = field(default_factory=dict)

    def difference(self, object_id: ObjectId) -> Difference:
        client = connect(str(object_id), self.store.storage)
        lines = [
            _lines(client, self._definition(client, object_id, job))
            for job in (self.job.earlier, self.job.later)
        ]
        sides = self._sides(client, object_id)
        names, more = ([], None) if sides is None else _compared(client, *sides)
        self.found[object_id] = _Found(lines[0], lines[1], names, more)
        counts = None if sides is None else _counts(client, more)
        return Difference(lines[0] != lines[1], counts)

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        found = self.found[object_id]
        return changed_lines(found.earlier, found.later)

    def rows(self, object_id: ObjectId) -> Iterator[bytes]:
        found = self.found[object_id]
        if found.more is None:
            return
        yield b" " + ",".join(f'"{name}"' for name in found.names).encode() + b"\n"
        client = connect(str(object_id), self.store.storage)
        statement = _PRINTED.format(more=found.more, settings=_SPILLING)
        with client.stream(statement) as readable:
            while piece := readable.read(_PIECE):
                yield piece

    def repair(self, objects: Sequence[ObjectId]) -> Iterator[bytes]:
        raise _no_way_back()

    def _definition(self, client: Client, object_id: ObjectId, job: RestoreJob | None) -> str:
        if job is not None:
            return b"".join(Rows(job, self.store).definition(object_id)).decode()
        live = sql.relation(object_id)
        asked = _CREATED.format(sql.literal(live.database), sql.literal(live.name))
        rows = client.ask(asked)
        if not rows:
            raise AbsentError(
                "clickhouse.not_live",
                f"{object_id}: it is not there any more",
                "tb-restore brings it back, and tb-cat shows it",
            )
        return str(rows[0]["text"])

    def _sides(
        self, client: Client, object_id: ObjectId
    ) -> tuple[sql.Relation, sql.Relation] | None:
        """Return both tables, attached until all is compared; None if they have no rows."""
        jobs = [job for job in (self.job.earlier, self.job.later) if job is not None]
        if not all(has_rows(job, object_id) for job in jobs):
            return None
        sides = [
            self.stack.enter_context(attached(job, self.store, client, object_id)) for job in jobs
        ]
        return sides[0], sides[1] if len(sides) > 1 else sql.relation(object_id)


def _no_way_back() -> BackupError:
    return UsageError(
        "diff.no_transactions",
        "ClickHouse has no transactions, so that no SQL leads back as a whole",
        "see --rows, and bring rows back by tb-cat --format sql --where, or all by tb-restore",
    )


def _compared(
    client: Client, earlier: sql.Relation, later: sql.Relation
) -> tuple[Sequence[str], str | None]:
    """Return the columns of both, and the query of what differs; None if no row does."""
    columns = [_columns(client, relation) for relation in (earlier, later)]
    names = [name for name in columns[0] if name in columns[1]]
    retyped = any(columns[0][name] != columns[1][name] for name in names)
    sides = _Sides(client, earlier, later, names, "'TSV'" if retyped else "'RowBinary'")
    return names, sides.more() if names else None


@dataclass(frozen=True, slots=True)
class _Sides:
    client: Client
    earlier: sql.Relation
    later: sql.Relation
    names: Sequence[str]
    form: str  # a literal: how rows are written to be hashed

    def more(self) -> str | None:
        """Return the query of the rows that one side has more often, with how many more."""
        sides = " UNION ALL ".join(
            self._filled(_HASHED, relation, side=side)
            for side, relation in enumerate((self.earlier, self.later))
        )
        statement = _DIFFERING.format(sides=sides, most=_MOST_NAMED + 1, settings=_SPILLING)
        buckets = [str(row["bucket"]) for row in self.client.ask(statement)]
        if not buckets:
            return None
        named = len(buckets) <= _MOST_NAMED
        within = self._filled(_WITHIN, numbers=", ".join(buckets)) if named else ""
        key = self._key()
        return _MORE.format(
            sides=" UNION ALL ".join(
                self._filled(_WRITTEN, relation, sign=sign, key=key, within=within)
                for sign, relation in ((1, self.earlier), (-1, self.later))
            )
        )

    def _filled(
        self, statement: str, relation: sql.Relation | None = None, **parts: object
    ) -> str:
        columns = ", ".join(map(sql.identifier, self.names))
        return statement.format(
            form=self.form, columns=columns, buckets=_BUCKETS, relation=relation, **parts
        )

    def _key(self) -> str:
        """Return SQL that orders rows as the later table does, where both can."""
        asked = _SORTED.format(sql.literal(self.later.database), sql.literal(self.later.name))
        key = "".join(str(row["sorting_key"]) for row in self.client.ask(asked))
        if not key:
            return "tuple()"
        for relation in (self.earlier, self.later):
            try:
                self.client.ask(f"SELECT tuple({key}) FROM {relation} WHERE 0")
            except BackupError:
                return "tuple()"
        return f"tuple({key})"


def _columns(client: Client, relation: sql.Relation) -> dict[str, str]:
    """Return the types of the columns that hold what was inserted, by name."""
    asked = _COLUMNS.format(sql.literal(relation.database), sql.literal(relation.name))
    return {str(row["name"]): str(row["type"]) for row in client.ask(asked)}


def _counts(client: Client, more: str | None) -> Counts:
    if more is None:
        return Counts()
    (row,) = client.ask(_COUNTED.format(more=more) + " " + _SPILLING)
    return Counts(int(row["added"]), int(row["removed"]))


def _lines(client: Client, statement: str) -> Sequence[str]:
    """Return a statement as the server writes it, without what only tells its files apart."""
    (row,) = client.ask(_FORMATTED.format(sql.literal(statement.strip())))
    return _UUID.sub("", str(row["text"])).splitlines()
