"""Notes for people on an object that came back."""

from collections.abc import Iterator

from three_backup.model.objects import ObjectId
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.changes import NOT_IN_IT
from three_backup.sources.clickhouse.relations import DEFINITION_ONLY, MATERIALIZED, Listed
from three_backup.sources.clickhouse.task import Task


def restore_notes(work: Task, found: Listed) -> Iterator[str]:
    """Yield notes. found: the object as it was restored, still beside the target."""
    object_id = work.wanted.object
    if found.facts.get("data") == DEFINITION_ONLY and found.kind != "dictionary":
        yield f"ClickHouse backs up the definition of {found.engine} only, not its rows"
    yield from (NOT_IN_IT.format(one) for one in work.manifests[-1].facts.get("pending", ()))
    moved = object_id.level2 != work.target.database
    if moved and sql.identifier(object_id.level2) in _quoted(found.reads, object_id):
        yield f"it reads from the tables of {object_id.level2}, as it did before"
    if found.appends:
        yield "from now on it refreshes itself and adds to these rows"
    if found.kind == MATERIALIZED and not found.refreshed:
        yield from _filling_notes(work)


def _filling_notes(work: Task) -> Iterator[str]:
    """Yield notes on a materialized view, which is at work as soon as it exists."""
    if work.fills is None and sql.relation(work.wanted.object) != work.target:
        yield "from now on it gathers what is inserted into the tables that it reads, too"
    elif work.fills is not None and work.before is not None:
        yield f"rows that were inserted while it was replaced may be in {work.fills} twice"


def _quoted(query: str, object_id: ObjectId) -> str:
    """Return the query with the object's database in quotes wherever it is named."""
    return query.replace(f"{object_id.level2}.", f"{sql.identifier(object_id.level2)}.")
