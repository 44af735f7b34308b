"""The options of one object, merged from every section that matches it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from three_backup.host.locks import IfRunning
from three_backup.model.retention import Limits
from three_backup.model.schedule import Cron
from three_backup.model.stages import Stage
from three_backup.model.storage import Storage

MONTHLY = Cron("0 3 1 * *")
NIGHTLY = Cron("0 3 * * *")
LOCAL_DIR = "local_dir"
_S3 = "s3_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says of one object; the defaults are those of an empty file.

    disable: the object is not backed up. size_alarm: how many times larger or smaller than before
    an object may be without an alarm, None for any. pg_bindir, scratch_user, scratch_dir: how
    PostgreSQL's scratch server is run (None: found by itself). compression_level: zstd's.
    clickhouse_named_collection: holds the keys of S3 at the server, which gets ours without one;
    clickhouse_timeout: how long it may move nothing before it is given up.
    """

    storage: Storage
    base_schedule: Cron = MONTHLY
    incremental_schedule: Cron = NIGHTLY
    max_base_snapshots_local: int = 1
    max_incremental_snapshots_local: int = 3
    max_base_snapshots_s3: int = 3
    max_incremental_snapshots_s3: int = 40
    max_stage: Stage = Stage.ROTATED_S3
    disable: bool = False
    size_alarm: float | None = None
    compression_level: int = 1
    pg_bindir: Path | None = None
    scratch_user: str | None = None
    scratch_dir: Path | None = None
    clickhouse_named_collection: str | None = None
    clickhouse_on_cluster: bool = False
    clickhouse_timeout: timedelta = timedelta(minutes=10)

    @property
    def limits(self) -> Limits:
        return Limits(
            self.max_base_snapshots_local,
            self.max_incremental_snapshots_local,
            self.max_base_snapshots_s3,
            self.max_incremental_snapshots_s3,
        )


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What holds for a whole run. local_dir: where its lock lies; kill_after: how long another run
    may be at work before if_running may end it; prometheus_file: where metrics are written;
    on_*: commands that are told of a run, ping_url: a URL that is."""

    local_dir: Path
    if_running: IfRunning = IfRunning.SKIP
    kill_after: timedelta = timedelta(hours=24)
    prometheus_file: Path | None = None
    on_start: tuple[str, ...] | None = None
    on_success: tuple[str, ...] | None = None
    on_failure: tuple[str, ...] | None = None
    hook_timeout: timedelta = timedelta(minutes=1)
    ping_url: str | None = field(default=None, repr=False)


def settings_of(options: Mapping[str, Any], defaults: Storage) -> Settings:
    """options: merged, by name. defaults: the folder and the prefix of a host that names none."""
    stored = {name: value for name, value in options.items() if is_storage(name)}
    others = {name: value for name, value in options.items() if not is_storage(name)}
    return Settings(_storage(stored, defaults), **others)


def is_storage(name: str) -> bool:
    """Whether the option says where snapshots lie: the objects of a carrier must agree in it."""
    return name == LOCAL_DIR or name.startswith(_S3)


def _storage(options: Mapping[str, Any], defaults: Storage) -> Storage:
    given = {name.removeprefix(_S3): value for name, value in options.items()}
    return Storage(**{"local_dir": defaults.local_dir, "prefix": defaults.prefix, **given})
