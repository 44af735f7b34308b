"""The options of one object, merged from every section that matches it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from three_backup.host.locks import IfRunning
from three_backup.model.bandwidth import Bandwidth
from three_backup.model.retention import Limits
from three_backup.model.schedule import Cron
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage
from three_backup.model.wal import Wal

MONTHLY = Cron("0 3 1 * *")
NIGHTLY = Cron("0 3 * * *")
LOCAL_DIR = "local_dir"
_OF_STORAGE = (
    LOCAL_DIR,
    "manifest_key",
    "encryption_key",
    "encrypt_names",
    "encryption",
    "lock_days",
    "lock_mode",
)
_S3 = "s3_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one object; the defaults are those of an empty file."""

    storage: Storage
    base_schedule: Cron = MONTHLY
    incremental_schedule: Cron = NIGHTLY
    max_base_snapshots_local: int = 1
    max_incremental_snapshots_local: int = 3
    max_base_snapshots_s3: int = 3
    max_incremental_snapshots_s3: int = 40
    # Of how many days, weeks, months and years the newest snapshot stays in S3, besides.
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    max_stage: Stage = Stage.ROTATED_S3
    copy_to: str | None = None  # the further store that runs copy its snapshots into
    disable: bool = False  # the object is not backed up
    # How many times larger or smaller than before an object may be without an alarm; None: any.
    size_alarm: float | None = None
    # How long a server may show no sign of life before it is given up.
    server_timeout: timedelta = timedelta(minutes=10)
    compression_level: int = 1  # of zstd
    # How PostgreSQL's scratch server is run; None: found by itself.
    pg_bindir: Path | None = None
    scratch_user: str | None = None
    scratch_dir: Path | None = None
    # How the log of what happens between snapshots gets into S3, and how old its end may be
    # before that is an alarm.
    wal: Wal = Wal.OFF
    wal_max_age: timedelta = timedelta(hours=2)
    # Holds the S3 credentials at the server; None: the server gets ours.
    clickhouse_named_collection: str | None = None
    clickhouse_cluster: str | None = None  # level1 of its objects; None: as found at first
    clickhouse_system: bool = False  # users, roles and the like are objects, too
    clickhouse_on_cluster: bool = False
    clickhouse_apply_patches: bool = True  # merge lightweight updates before a backup

    @property
    def limits(self) -> Limits:
        return Limits(
            self.max_base_snapshots_local,
            self.max_incremental_snapshots_local,
            self.max_base_snapshots_s3,
            self.max_incremental_snapshots_s3,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        )


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of a whole run."""

    local_dir: Path  # the lock of the run lies here
    if_running: IfRunning = IfRunning.SKIP
    # How long another run may be at work before if_running may end it.
    kill_after: timedelta = timedelta(hours=24)
    prometheus_file: Path | None = None  # metrics are written here
    html_file: Path | None = None  # a page to look at is written here
    bandwidth_limit: Bandwidth | None = None  # of what each process moves to and from S3
    log_file: Path | None = None  # what runs do is written here, too
    # Commands that are told of the run.
    on_start: tuple[str, ...] | None = None
    on_success: tuple[str, ...] | None = None
    on_failure: tuple[str, ...] | None = None
    hook_timeout: timedelta = timedelta(minutes=1)
    ping_url: str | None = field(default=None, repr=False)  # a URL that is told of the run


def settings_of(options: Mapping[str, Any], defaults: Storage) -> Settings:
    """Build the settings from merged options by name.

    defaults: the folder and the prefix where the options name none.
    """
    stored = {name: value for name, value in options.items() if is_storage(name)}
    others = {name: value for name, value in options.items() if not is_storage(name)}
    return Settings(_storage(stored, defaults), **others)


def is_storage(name: str) -> bool:
    """Return whether the option says where snapshots lie: a carrier's objects must agree on it."""
    return name in _OF_STORAGE or name.startswith(_S3)


def _storage(options: Mapping[str, Any], defaults: Storage) -> Storage:
    given = {name.removeprefix(_S3): value for name, value in options.items()}
    return Storage(**{"local_dir": defaults.local_dir, "prefix": defaults.prefix, **given})
