"""The option names of the configuration, and how each is read. A new one is a line of OPTIONS."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from three_backup.host.locks import IfRunning
from three_backup.model.bandwidth import Bandwidth
from three_backup.model.encryption import Demand, EncryptionKeys
from three_backup.model.schedule import Cron
from three_backup.model.signing import Keyring
from three_backup.model.stages import TARGETS, Stage
from three_backup.model.wal import Wal

_NUMBER = re.compile(r"[0-9]{1,9}")
_FACTOR = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PREFIX = re.compile(r"[A-Za-z0-9._=/-]*")
_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


class Scope(StrEnum):
    """The scope of an option, which says in which sections it may stand."""

    OBJECT = "object"  # any section
    SOURCE = "source"  # "*", and sections of a source as a whole
    RUN = "run"  # "*" only


@dataclass(frozen=True, slots=True)
class Option:
    """How the value of one option is read."""

    convert: Callable[[str], Any]  # its ValueError or ConfigurationError says what is expected
    scope: Scope = Scope.OBJECT
    secret: bool = False  # never shown; may also be given as `<name>_file`
    alias: str | None = None  # another spelling of the name


def option_named(word: str) -> tuple[str, bool] | None:
    """Return the name of the option that word means, and whether its value stands in a file.

    None for an unknown word.
    """
    if word in OPTIONS:
        return word, False
    name = _ALIASES.get(word)
    return (name, False) if name else _FILES.get(word)


def words() -> tuple[str, ...]:
    """Return every word that may stand in a section."""
    return (*OPTIONS, *_ALIASES, *_FILES)


def _text(text: str) -> str:
    return text


def _count(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number; write 0, 1, 2, ...")
    return int(text)


def _level(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 22:
        raise ValueError(f"{text!r} is not a level of zstd; write 1 (fast) to 22 (small)")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


def _factor(text: str) -> float:
    if not _FACTOR.fullmatch(text) or float(text) <= 1:
        raise ValueError(f"{text!r} is not a factor; write a number above 1: 2, 1.5, 10")
    return float(text)


def duration(text: str) -> timedelta:
    """Parse a duration; the ValueError for a bad one says how durations are written."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 45s, 90m, 24h or 2d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _patience(text: str) -> timedelta:
    if not (given := duration(text)):
        raise ValueError(f"{text!r} would give up at once; write 45s, 90m, 24h or 2d")
    return given


def _one_of(*allowed: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not known; write one of {', '.join(allowed)}")
        return text

    return convert


def _if_running(text: str) -> IfRunning:
    return IfRunning(_one_of(*IfRunning)(text))


def _max_stage(text: str) -> Stage:
    if text == Stage.PARTIALLY_SYNCED:
        raise ValueError(
            f"{text} is a state that an upload passes through, never a target; "
            f"write {Stage.SYNCED_S3}, or {Stage.SNAPSHOT_INCREMENTAL} to stay out of S3"
        )
    return Stage(_one_of(*TARGETS)(text))


def _demand(text: str) -> Demand:
    return Demand(_one_of(*Demand)(text))


def _wal(text: str) -> Wal:
    return Wal(_one_of(*Wal)(text))


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError(f"{text!r} is a relative path; write it in full")
    return path


def _command(text: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"it is not a command ({str(error).lower()})") from error
    if not argv:
        raise ValueError("it is empty; write a command")
    return argv


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or re.search(r"\s", text):
        raise ValueError("it is not a URL; write https://host/path")
    return text


def _endpoint(text: str) -> str:
    url = text if "://" in text else f"https://{text}"
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("it holds a password; write s3_access_key and s3_secret_key")
    beyond = parts.query or parts.fragment  # as in the address of a console
    well_formed = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    if beyond or not well_formed or re.search(r"\s", text):
        raise ValueError(f"{text!r} is not the address of a server; write https://host[:port]")
    return url.rstrip("/")


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a bucket; folders belong into s3_prefix")
    return text


def _prefix(text: str) -> str:
    prefix = text.strip("/")
    if not {".", ".."}.isdisjoint(prefix.split("/")):
        raise ValueError(f"{text!r} has a folder named . or .., which some stores refuse; name it")
    if not _PREFIX.fullmatch(prefix) or "//" in prefix:
        raise ValueError(
            f"{text!r} has characters that some stores refuse; write A-Z a-z 0-9 ._=-"
        )
    return prefix


def _collection(text: str) -> str:
    if not _COLLECTION.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a named collection")
    return text


OPTIONS: Mapping[str, Option] = {
    "base_schedule": Option(Cron.parse),
    "incremental_schedule": Option(Cron.parse),
    "max_base_snapshots_local": Option(_count),
    "max_incremental_snapshots_local": Option(_count),
    "max_base_snapshots_s3": Option(_count),
    "max_incremental_snapshots_s3": Option(_count),
    "keep_daily": Option(_count),
    "keep_weekly": Option(_count),
    "keep_monthly": Option(_count),
    "keep_yearly": Option(_count),
    "max_stage": Option(_max_stage),
    "copy_to": Option(_text),
    "disable": Option(_flag),
    "size_alarm": Option(_factor),
    "local_dir": Option(_folder),
    "s3_endpoint": Option(_endpoint),
    "s3_bucket": Option(_bucket),
    "s3_prefix": Option(_prefix),
    "s3_region": Option(_text),
    "s3_access_key": Option(_text, secret=True, alias="s3_client_id"),
    "s3_secret_key": Option(_text, secret=True, alias="s3_client_secret"),
    "s3_addressing_style": Option(_one_of("path", "virtual", "auto")),
    "s3_storage_class": Option(_text),
    "s3_ca_file": Option(_folder),
    "s3_timeout": Option(duration),
    "manifest_key": Option(Keyring.parse, secret=True),
    "encryption_key": Option(EncryptionKeys.parse, secret=True),
    "encrypt_names": Option(_flag),
    "encryption": Option(_demand),
    "lock_days": Option(_count),
    "lock_mode": Option(_one_of("governance", "compliance")),
    "server_timeout": Option(_patience, Scope.SOURCE, alias="clickhouse_timeout"),
    "compression_level": Option(_level, Scope.SOURCE),
    "clickhouse_named_collection": Option(_collection, Scope.SOURCE),
    "clickhouse_cluster": Option(_text, Scope.SOURCE),
    "clickhouse_system": Option(_flag, Scope.SOURCE),
    "clickhouse_on_cluster": Option(_flag, Scope.SOURCE),
    "clickhouse_apply_patches": Option(_flag, Scope.SOURCE),
    "pg_bindir": Option(_folder, Scope.SOURCE),
    "scratch_user": Option(_text, Scope.SOURCE),
    "scratch_dir": Option(_folder, Scope.SOURCE),
    "wal": Option(_wal, Scope.SOURCE),
    "wal_max_age": Option(duration, Scope.SOURCE),
    "on_start": Option(_command, Scope.RUN),
    "on_success": Option(_command, Scope.RUN),
    "on_failure": Option(_command, Scope.RUN),
    "hook_timeout": Option(_patience, Scope.RUN),
    "ping_url": Option(_url, Scope.RUN, secret=True),
    "prometheus_file": Option(_folder, Scope.RUN),
    "html_file": Option(_folder, Scope.RUN),
    "bandwidth_limit": Option(Bandwidth.parse, Scope.RUN),
    "log_file": Option(_folder, Scope.RUN),
    "if_running": Option(_if_running, Scope.RUN),
    "kill_after": Option(duration, Scope.RUN),
}
_ALIASES = {option.alias: name for name, option in OPTIONS.items() if option.alias}
_FILES = {
    f"{word}_file": (name, True)
    for name, option in OPTIONS.items()
    if option.secret
    for word in (name, option.alias)
    if word
}
