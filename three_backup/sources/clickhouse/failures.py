"""Explains ClickHouse's errors by their codes; no other module interprets them."""

import re
from dataclasses import dataclass

from three_backup.errors import BackupError, UnreachableError

_CODE = re.compile(r"\bCode: (\d+)\b")
_SAID = re.compile(r".*DB::(?:\w*Exception): (.*)", re.DOTALL)
_TAIL = re.compile(r"(?:;?\s*\(query: |, Stack trace|\(version \d[^)]*\)(?!:)).*", re.DOTALL)
"""Text behind the message. A version with a colon stands before it: the client begins so."""
_GRANT = re.compile(r"have the grant (.+? ON .+?)[.,;]?(?: for .*| \(ACCESS_DENIED\).*|$)")
_LONGEST = 400


class ServerError(BackupError):
    """A refusal of a statement by the server."""

    number = 0  # ClickHouse's own code, 0 if it gave none


@dataclass(frozen=True, slots=True)
class _Explained:
    """An error in our words."""

    code: str
    sentence: str
    hint: str = ""
    quoted: bool = True  # the message also quotes the server


_UNREACHABLE = _Explained(
    "clickhouse.unreachable",
    "the server cannot be reached",
    "start it, or correct CLICKHOUSE_HOST and CLICKHOUSE_PORT",
)
_CREDENTIALS = _Explained(
    "clickhouse.credentials",
    "the server does not accept the user or the password",
    "set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD in .env beside the configuration",
    quoted=False,
)
_DENIED = _Explained("clickhouse.denied", "the user may not do this")
_TABLE = _Explained(
    "clickhouse.no_table",
    "there is no such table",
    "it was dropped or renamed, or what it reads from is not there; tb-discover lists what is",
)
_BASE = _Explained(
    "clickhouse.no_base",
    "a snapshot that this one builds on is not where it was",
    "restore another snapshot, or bring the missing one back",
)
_BASE_CHANGED = _Explained(
    "clickhouse.other_base",
    "another snapshot lies where the one was that this one builds on",
    "restore a snapshot of another chain; the next base starts a new one",
)
_EXISTS = _Explained(
    "clickhouse.backup_exists",
    "something is stored at the destination already",
    "the next run writes to a place of its own",
)
_TARGET = _Explained(
    "clickhouse.target",
    "the target is in the way",
    "restore under another name, or replace it with --overwrite",
)
_DAMAGED = _Explained(
    "clickhouse.damaged",
    "the snapshot is damaged",
    "restore another one with --snapshot; tb-list --snapshots names them",
)
_TOO_OLD = _Explained(
    "clickhouse.too_old",
    "the server does not understand this",
    "ClickHouse 24.3 or newer is needed",
)
_COLLECTION = _Explained(
    "clickhouse.collection",
    "the server has no such named collection",
    "create it, or correct clickhouse_named_collection",
)
_SPACE = _Explained("clickhouse.space", "the server has no space left", "make room for the table")
_MEMORY = _Explained(
    "clickhouse.memory", "the server ran out of memory", "raise max_memory_usage for this user"
)
_SLOW = _Explained(
    "clickhouse.slow", "a limit of the server ended it", "raise max_execution_time for this user"
)
_CANCELLED = _Explained("clickhouse.cancelled", "somebody ended it", "the next run starts it anew")
_READONLY = _Explained(
    "clickhouse.readonly", "the user may only read", "remove readonly from the profile of the user"
)
_REPLICA = _Explained(
    "clickhouse.replica",
    "the path of the table in Keeper is taken",
    "drop the table that has it, or restore on another cluster",
)
_TOO_LARGE = _Explained(
    "clickhouse.drop_limit",
    "the server drops no table as large as this one",
    "set max_table_size_to_drop to 0 in its config.xml, which needs no restart, and run it again",
    quoted=False,
)
_FAILED = _Explained("clickhouse.failed", "the server failed")

_MEANINGS = {
    40: _DAMAGED,
    57: _TARGET,
    60: _TABLE,
    62: _TOO_OLD,
    81: _TABLE,
    115: _TOO_OLD,
    159: _SLOW,
    164: _READONLY,
    192: _CREDENTIALS,
    193: _CREDENTIALS,
    194: _CREDENTIALS,
    198: _UNREACHABLE,
    209: _UNREACHABLE,
    210: _UNREACHABLE,
    241: _MEMORY,
    243: _SPACE,
    253: _REPLICA,
    359: _TOO_LARGE,
    394: _CANCELLED,
    497: _DENIED,
    516: _CREDENTIALS,
    598: _EXISTS,
    599: _BASE,
    601: _DAMAGED,
    602: _BASE,
    603: _BASE_CHANGED,
    605: _DAMAGED,
    608: _TARGET,
    669: _COLLECTION,
    735: _CANCELLED,
}
"""Meanings by ClickHouse's code."""

_BAD_ARGUMENTS = 36
_NO_DICTIONARY = re.compile(r"Dictionary \(.*\) not found")
"""Finds what the server says of a table whose defaults look up a dictionary that is missing."""
_S3_CODE = 499
_S3 = (
    (
        re.compile(r"bucket does not exist|NoSuchBucket", re.IGNORECASE),
        _Explained(
            "clickhouse.s3_no_bucket",
            "the server finds no such bucket in S3",
            "create it or correct s3_bucket",
            quoted=False,
        ),
    ),
    (
        re.compile(
            r"ACCESS_DENIED|AccessDenied|SignatureDoesNot|InvalidAccessKey|response code: 403"
        ),
        _Explained(
            "clickhouse.s3_denied",
            "S3 denies the server access",
            "check s3_access_key and s3_secret_key, or the keys of clickhouse_named_collection; a "
            "store that checks s3_region needs it in the server's configuration, too",
        ),
    ),
    (
        re.compile(r"InvalidStorageClass"),
        _Explained(
            "clickhouse.s3_storage_class",
            "S3 does not know the storage class",
            "correct or remove s3_storage_class",
            quoted=False,
        ),
    ),
    (
        re.compile(
            r"refused|timeout|timed out|not found|resolve|unreachable|reset", re.IGNORECASE
        ),
        _Explained(
            "clickhouse.s3_unreachable",
            "the server cannot reach S3",
            "s3_endpoint must lead to the store from the server too",
        ),
    ),
)
"""Meanings of S3_ERROR by its words; the first match counts."""
_S3_FAILED = _Explained("clickhouse.s3_failed", "S3 refused the server")


def explained(about: str, text: str) -> BackupError:
    """Return the error that a text of the client or the server means.

    about: the object or server; text: without secrets.
    """
    found = _CODE.search(text)
    number = int(found[1]) if found else 0
    words = _words(text)
    meaning = _meaning(number, words)
    quotation = f" ({words})" if meaning.quoted and words else ""
    message = f"{about}: {meaning.sentence}{quotation}"
    hint = _grant(words) if meaning is _DENIED else meaning.hint
    if meaning is _UNREACHABLE:
        return UnreachableError(meaning.code, message, hint)
    error = ServerError(meaning.code, message, hint)
    error.number = number
    return error


def _meaning(number: int, words: str) -> _Explained:
    if number == _BAD_ARGUMENTS and "no named collection" in words:
        return _COLLECTION
    if number == _BAD_ARGUMENTS and _NO_DICTIONARY.search(words):
        return _TABLE
    if number == _S3_CODE:
        return next((meaning for sign, meaning in _S3 if sign.search(words)), _S3_FAILED)
    return _MEANINGS.get(number, _FAILED)


def _words(text: str) -> str:
    """Return the server's own words, without what the client puts around them."""
    said = _SAID.match(_TAIL.sub("", text))
    words = " ".join((said[1] if said else _TAIL.sub("", text)).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _grant(words: str) -> str:
    """Return a hint with the GRANT that the user lacks."""
    found = _GRANT.search(words)
    if found is None:
        return "grant what three_backup-clickhouse(7) lists for backups, restores and tb-verify"
    return (
        f"run as an administrator: GRANT {found[1]} TO the user in CLICKHOUSE_USER; "
        "three_backup-clickhouse(7) lists all that backups, restores and tb-verify need"
    )
