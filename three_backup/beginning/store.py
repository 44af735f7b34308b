"""Tries the place in S3, and lets a person correct it, until it works."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from three_backup.beginning.answers import BUCKET, ENDPOINT, Options, corrected
from three_backup.beginning.telling import Telling
from three_backup.errors import BackupError
from three_backup.host.machine import this_host
from three_backup.model.findings import bad
from three_backup.model.storage import Storage
from three_backup.pipe.asking import agree, can_ask
from three_backup.s3 import making
from three_backup.s3.probe import probe
from three_backup.s3.reaching import without_tls

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Trying:
    """What a trial needs."""

    storage: Callable[[Options], Storage]  # what options mean
    telling: Callable[[str], Telling]  # shows findings, below a heading
    clock: Callable[[], datetime]
    creates: bool  # a bucket that is missing is made without asking


def working(options: Options, trying: Trying) -> Options:
    """Return options with which S3 did all that backups need.

    A person may correct them twice. Raises BackupError if it does not work.
    """
    for left in reversed(range(_TRIES)):
        found, is_good = _tried(options, trying)
        if is_good:
            return found
        if not left or not can_ask():
            break
        options = corrected(found)
    raise BackupError(
        "init.store",
        f"{options[ENDPOINT]}, bucket {options[BUCKET]}: not usable as it stands, and nothing was "
        "written",
        "mend that, and run tb-init again",
    )


def _tried(options: Options, trying: Trying) -> tuple[Options, bool]:
    """Try the options, and once more with another value that the trial found to work."""
    heading = f"S3 at {options[ENDPOINT]}, bucket {options[BUCKET]}"
    with trying.telling(heading) as telling:
        storage = trying.storage(options)
        try:
            if making.is_missing(storage) and _is_wanted(storage, trying):
                making.make(storage)
        except BackupError as error:
            telling.tell(bad("bucket", error))
        else:
            for finding in without_tls(storage):
                telling.tell(finding)
            probe(storage, this_host(), trying.clock, telling.tell)
    worst = telling.worst
    if worst is None or worst.cure is None or not _is_welcome(*worst.cure):
        return options, worst is None
    option, value = worst.cure
    return _tried({**options, option: value}, trying)


def _is_wanted(storage: Storage, trying: Trying) -> bool:
    if trying.creates or not can_ask():
        return trying.creates
    return agree(f"there is no bucket {storage.bucket}; make it?", default=False)


def _is_welcome(option: str, value: str) -> bool:
    """Whether the value may be set. Another server, or one without TLS, is a matter of trust."""
    if option != ENDPOINT:
        return True
    return can_ask() and agree(f"it works with {option}: {value}; take that?", default=False)
