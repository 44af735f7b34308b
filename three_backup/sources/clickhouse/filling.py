"""Finds out which table a stored materialized view fills (`TO t`), before the view is restored.

A copy of the view fills the same table from the moment the server creates it.
"""

import re
from collections.abc import Sequence

from three_backup.errors import BackupError
from three_backup.model.snapshots import Manifest
from three_backup.s3.store import Store
from three_backup.sources.clickhouse import sql, stored
from three_backup.sources.clickhouse.chain import folders
from three_backup.sources.clickhouse.relations import MATERIALIZED
from three_backup.sources.jobs import Wanted

_QUOTED = r"`(?:[^`\\]|\\.)*`"
_NAME = rf"(?:{_QUOTED}|\w+)\.(?:{_QUOTED}|\w+)"
_FILLS = re.compile(
    rf"CREATE MATERIALIZED VIEW {_NAME}(?: UUID '[^']*')?"
    rf"(?: REFRESH (?:{_QUOTED}|[^`(])*?)? TO ({_NAME})"
)
"""Finds the table that a view fills. A view with own rows says `TO INNER UUID` instead."""


def filled(store: Store, manifests: Sequence[Manifest], wanted: Wanted) -> str | None:
    """Return the table that the object fills, as the server writes it; None if it fills none.

    Raises BackupError if it is restored under another name: both would fill the table.
    """
    if manifests[-1].objects[0].facts.get("kind") != MATERIALIZED:
        return None
    newest_first = folders(manifests)[::-1]
    found = _FILLS.match(stored.definition(store, newest_first, str(wanted.object)))
    if found is None:
        return None
    if sql.relation(wanted.object) != sql.relation(wanted.target):
        raise BackupError(
            "clickhouse.fills_twice",
            f"{wanted.target}: it would fill {found[1]} a second time, as {wanted.object} does",
            "restore it in its own place, or create it by hand on other tables",
        )
    return found[1]
