"""Reads the SQL that is to run before rows leave a snapshot, and says where it cannot."""

from pathlib import Path

from three_backup.errors import BackupError, UsageError
from three_backup.model.objects import ObjectId
from three_backup.sources import source_of
from three_backup.sources.jobs import SqlFile


def read_sql(path: Path) -> SqlFile:
    """Raises UsageError where the file cannot be read, or is no text."""
    try:
        return SqlFile(path.name, path.read_text("utf-8-sig"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError("restore.sql_before", f"{path}: {why}", "name a file of SQL") from error
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8 at byte {error.start + 1}"
        hint = "convert it: iconv -t UTF-8"
        raise UsageError("restore.sql_before", f"{path}: {why}", hint) from error


def why_no_sql(object_id: ObjectId) -> BackupError | None:
    """Return why no SQL can run before this comes back; None if it can."""
    if source_of(object_id.type).runs_sql:
        return None
    return BackupError(
        "restore.sql_before",
        f"{object_id}: --sql-before runs for tables of PostgreSQL only",
        "restore it without, and change it then",
    )
