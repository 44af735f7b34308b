"""Proves that what came back is whole: RESTORE compares no checksums, CHECK TABLE does."""

from three_backup.errors import BackupError
from three_backup.sources.clickhouse.relations import Listed, inner
from three_backup.sources.clickhouse.task import Task

_WANTED = "check"
"""The option of a restore: False leaves the check out."""

_CHECK = "CHECK TABLE {} SETTINGS check_query_single_value_result = 0"


def prove(work: Task, found: Listed) -> bool:
    """Read all of a table and compare its checksums; return False if that was not wanted.

    found: the object as it was restored. Engines that know no check count as proved. Raises
    BackupError if a part is damaged.
    """
    checked = inner(work.client, found) if found.subtype == "view" else found
    if checked is None or not checked.checkable:
        return True
    if not work.job.options.get(_WANTED, True):
        return False
    for row in work.client.ask(_CHECK.format(checked.relation)):
        if not int(row["is_passed"]):
            raise BackupError(
                "clickhouse.damaged",
                f"{work.about}: part {row['part_path']} came back damaged ({row['message']})",
                "restore another snapshot with --snapshot; tb-list --snapshots names them",
            )
    return True
