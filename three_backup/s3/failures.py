"""Turn what botocore raises into sentences; no other module interprets its exceptions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3 import meanings
from three_backup.s3.codes import meaning_of
from three_backup.s3.meanings import Meaning, Sort
from three_backup.s3.meanings import MissingError as MissingError
from three_backup.s3.meanings import RefusedError as RefusedError


class UndeletableError(BackupError):
    """The access key may not delete."""


def may_not_delete(error: BackupError) -> bool:
    """Whether a deletion failed because the access key may not delete."""
    return isinstance(error, UndeletableError) or error.code == meanings.DENIED.code


def place(storage: Storage, key: str = "") -> str:
    """Return the s3:// address of a key, for a person. key: relative to the prefix."""
    parts = (storage.bucket or "", storage.prefix, key)
    return "s3://" + "/".join(part for part in parts if part)


@contextmanager
def explained(storage: Storage, key: str = "") -> Iterator[None]:
    """Raise every exception of botocore in the block as a BackupError."""
    from botocore import exceptions, parsers  # type: ignore[import-untyped]

    try:
        yield
    except exceptions.ClientError as error:
        head = error.operation_name.startswith("Head")
        raise _answered(error.response, storage, key, head=head) from error
    except (exceptions.BotoCoreError, parsers.ResponseParserError) as error:
        raise _said(_broken(error), storage, key, str(error)) from error


def trouble(
    response: tuple[Any, Mapping[str, Any]] | None, error: Exception | None, storage: Storage
) -> str | None:
    """Say why one try of a request failed if a later try may succeed; None if it is settled.

    response: as botocore has it; its second item is the parsed answer.
    """
    if response is not None:
        meaning, words = _meaning(response[1], head=False), _words(response[1])
    elif error is not None:
        meaning, words = _broken(error), str(error)
    else:
        return None
    return _said(meaning, storage, "", words).message if meaning.sort is Sort.THEIRS else None


def passes(error: Mapping[str, Any]) -> bool:
    """Whether a later try may succeed after this error of one key out of many."""
    return _meaning({"Error": error}, head=False).sort is Sort.THEIRS


def refusal(storage: Storage, key: str, error: Mapping[str, Any]) -> BackupError:
    """Return the failure of one key out of many."""
    return _answered({"Error": error}, storage, key, head=False)


def lacking(storage: Storage, key: str, what: str) -> BackupError:
    """Return the failure of an answer without something that every S3 server gives."""
    return BackupError(
        "s3.incomplete_answer",
        f"{place(storage, key)}: the server gave no {what}",
        "a proxy before it may drop headers such as ETag; let it pass answers as they are",
    )


def no_bucket_there(storage: Storage) -> BackupError:
    """Return the failure of a server that lists no keys because it looks for one."""
    return BackupError(
        meanings.NO_BUCKET.code,
        f"{place(storage)}: the server takes {storage.endpoint or 'S3'} for the place of a key",
        "write s3_endpoint without the bucket and without a path",
    )


def undeleted(storage: Storage, key: str, why: BackupError, more: int) -> BackupError:
    """Return the failure to delete a key and so many others."""
    reason = why.message.removeprefix(f"{place(storage, key)}: ")
    denied = why.code == meanings.DENIED.code
    hint = "allow s3_access_key to delete there" if denied else why.hint
    again = "the next run tries again"
    kind = UndeletableError if denied else BackupError
    return kind(
        "s3.undeleted",
        f"{place(storage, key)}: the server did not delete it ({reason})"
        + (f", and {more} more" if more else ""),
        hint if again in hint else f"{hint}; {again}".removeprefix("; "),
    )


_OTHER_KEYS = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN (or ~/.aws, or the role of "
    "this host)"
)
_TEMPORARY = "ASIA"
"""How temporary keys of AWS begin."""
_COMPLETE = (
    "without s3_access_key and s3_secret_key, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN are used"
)

_EXCEPTIONS = {
    "NoCredentialsError": meanings.NO_KEYS,
    "PartialCredentialsError": meanings.NO_KEYS,
    "ParamValidationError": meanings.INVALID,
    "ResponseParserError": meanings.NOT_S3,
    "SSLError": meanings.TLS,
    "ReadTimeoutError": meanings.SILENT,
    "ResponseStreamingError": meanings.CUT_SHORT,
    "IncompleteReadError": meanings.CUT_SHORT,
    "ConnectionClosedError": meanings.CLOSED,
    "ConnectionError": meanings.NO_CONNECTION,
    "ProxyConnectionError": meanings.NO_TUNNEL,
    "HTTPClientError": meanings.NO_CONNECTION,
}
"""The failures by the name of botocore's exception class; the narrowest named class counts."""


def _answered(
    response: Mapping[str, Any], storage: Storage, key: str, *, head: bool
) -> BackupError:
    """Turn an answer into an error. It may quote the server, which never saw our secret."""
    return _said(_meaning(response, head=head), storage, key, _words(response))


def _meaning(response: Mapping[str, Any], *, head: bool) -> Meaning:
    error, told = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, said = str(error.get("Code", "")), str(error.get("Message") or "")
    found = meaning_of(code, said, told.get("HTTPStatusCode", 0), head=head)
    deleted = told.get("HTTPHeaders", {}).get("x-amz-delete-marker") == "true"
    return meanings.DELETED if found is meanings.MISSING and deleted else found


def _words(response: Mapping[str, Any]) -> str:
    error = response.get("Error", {})
    told = (error.get(name) for name in ("Code", "Message", "Endpoint"))
    return " ".join(str(word) for word in told if word)


def _broken(error: Exception) -> Meaning:
    ancestors = (kind.__name__ for kind in type(error).__mro__)
    return next((_EXCEPTIONS[name] for name in ancestors if name in _EXCEPTIONS), meanings.FAILED)


def _said(meaning: Meaning, storage: Storage, key: str, words: str) -> BackupError:
    unreachable = issubclass(meaning.kind, UnreachableError)
    where = storage.endpoint or "S3" if unreachable else place(storage, key)
    quotation = f" ({' '.join(words.split())})" if meaning.quoted else ""
    sentence = f"{where}: {meaning.sentence}{quotation}"
    return meaning.kind(meaning.code, sentence, _hint(meaning, storage))


def _hint(meaning: Meaning, storage: Storage) -> str:
    """Return the remedy in the words of what is configured."""
    if meaning is meanings.NO_BUCKET and urlsplit(storage.endpoint or "").path:
        return f"{meaning.hint}, or write s3_endpoint without its path"
    if storage.access_key is None and meaning is not meanings.NO_KEYS:
        return meaning.hint.replace(meanings.KEYS, _OTHER_KEYS)
    if meaning is meanings.SIGNATURE and (storage.access_key or "").startswith(_TEMPORARY):
        return f"{meaning.hint}; this key is a temporary one: {_COMPLETE}"
    return meaning.hint
