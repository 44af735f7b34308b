"""The options of one object, merged from every section that matches it."""

from dataclasses import dataclass
from pathlib import Path

from three_backup.schedule import Cron
from three_backup.stages import Stage
from three_backup.storage import Storage


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of one object; the defaults are those of an empty file.

    disable: the object is not backed up. pg_bindir, scratch_user, scratch_dir: how PostgreSQL's
    scratch server is run (None: found by itself). compression_level: zstd's.
    """

    base_schedule: Cron
    incremental_schedule: Cron
    storage: Storage
    max_base_snapshots_local: int = 1
    max_incremental_snapshots_local: int = 3
    max_base_snapshots_s3: int = 3
    max_incremental_snapshots_s3: int = 40
    max_stage: Stage = Stage.ROTATED_S3
    disable: bool = False
    compression_level: int = 3
    pg_bindir: Path | None = None
    scratch_user: str | None = None
    scratch_dir: Path | None = None
