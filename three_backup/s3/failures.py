"""Turn what botocore raises into sentences; no other module interprets its exceptions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from three_backup.errors import BackupError, ConfigurationError, UnreachableError
from three_backup.model.storage import Storage


class MissingError(BackupError):
    """The key or the multipart upload does not exist."""


class RefusedError(BackupError):
    """The server does not offer this request."""


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
        raise _raised(error, storage, key) from error


def trouble(
    response: tuple[Any, Mapping[str, Any]] | None, error: Exception | None, storage: Storage
) -> str | None:
    """Say why one try of a request failed if a later try may succeed; None if it is settled.

    response: as botocore has it; its second item is the parsed answer.
    """
    if response is None:
        failure = None if error is None else _raised(error, storage, "")
    else:
        failure = _answered(response[1], storage, "", head=False)
    return failure.message if failure is not None and failure.code in _PASSING else None


@dataclass(frozen=True, slots=True)
class _Meaning:
    """The BackupError that a failure becomes."""

    kind: type[BackupError]
    code: str
    sentence: str
    hint: str = ""
    quoted: bool = False  # also quote the server or botocore


_CARRIES_ON = "check s3_endpoint and the network; the next run carries on where this one stopped"

_DENIED = _Meaning(
    BackupError,
    "s3.denied",
    "access is denied",
    "check s3_access_key and s3_secret_key and what the policy of the bucket lets them do",
)
_SIGNATURE = _Meaning(
    BackupError,
    "s3.signature",
    "the server does not accept the access key or what was signed with its secret",
    "check s3_access_key and s3_secret_key",
)
_CLOCK = _Meaning(
    BackupError,
    "s3.clock",
    "the server finds the clock of this host wrong",
    "set the clock, by NTP for instance",
)
_REGION = _Meaning(BackupError, "s3.region", "the region is wrong", "set s3_region", quoted=True)
_NO_BUCKET = _Meaning(
    BackupError, "s3.no_bucket", "there is no such bucket", "create it or correct s3_bucket"
)
_MISSING = _Meaning(MissingError, "s3.missing", "nothing is stored under this key")
_NO_UPLOAD = _Meaning(MissingError, "s3.no_upload", "the multipart upload is not there")
_THROTTLED = _Meaning(
    UnreachableError,
    "s3.throttled",
    "the S3 server asks for fewer requests",
    "the next run carries on; ask the provider for the limits of the bucket",
)
_ILL = _Meaning(
    UnreachableError, "s3.unavailable", "the S3 server fails", _CARRIES_ON, quoted=True
)
_STORAGE_CLASS = _Meaning(
    BackupError,
    "s3.storage_class",
    "the server does not know the storage class",
    "correct or remove s3_storage_class",
)
_DAMAGED = _Meaning(
    BackupError,
    "s3.damaged",
    "the server received other bytes than were sent",
    "the next run sends them again",
)
_REFUSED = _Meaning(
    RefusedError, "s3.refused", "the server does not offer this request", quoted=True
)
_FAILED = _Meaning(BackupError, "s3.failed", "the request failed", quoted=True)
_INVALID = _Meaning(
    ConfigurationError, "s3.invalid", "this cannot be asked for", "correct s3_bucket", quoted=True
)
_NO_KEYS = _Meaning(
    ConfigurationError,
    "s3.no_keys",
    "there is no access key",
    "set s3_access_key and s3_secret_key",
)
_NOT_S3 = _Meaning(
    UnreachableError, "s3.not_s3", "what answers there is no S3 server", "check s3_endpoint"
)
_TLS = _Meaning(
    UnreachableError,
    "s3.tls",
    "no trusted connection",
    "name the authority of its certificate with s3_ca_file, or write http:// in s3_endpoint where "
    "the server speaks no TLS",
    quoted=True,
)
_NO_CONNECTION = _Meaning(
    UnreachableError, "s3.unreachable", "the S3 server cannot be connected to", _CARRIES_ON
)
_CLOSED = _Meaning(
    UnreachableError, "s3.unreachable", "the S3 server closed the connection", _CARRIES_ON
)
_SILENT = _Meaning(UnreachableError, "s3.unreachable", "the S3 server went silent", _CARRIES_ON)
_CUT_SHORT = _Meaning(
    UnreachableError, "s3.unreachable", "the S3 server cut its answer short", _CARRIES_ON
)

_ANSWERS = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "InvalidAccessKeyId": _SIGNATURE,
    "SignatureDoesNotMatch": _SIGNATURE,
    "InvalidToken": _SIGNATURE,
    "ExpiredToken": _SIGNATURE,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchKey": _MISSING,
    "NoSuchUpload": _NO_UPLOAD,
    "SlowDown": _THROTTLED,
    "RequestTimeout": _ILL,
    "InvalidStorageClass": _STORAGE_CLASS,
    "BadDigest": _DAMAGED,
    "NotImplemented": _REFUSED,
    "MethodNotAllowed": _REFUSED,
    "InvalidRequest": _REFUSED,
}
"""The failures by the error code of the answer."""

_HEAD_STATUSES = {301: _REGION, 404: _MISSING}
"""The failures by the HTTP status of an answer to HEAD, which has no body."""

_STATUSES = {
    301: _NOT_S3,
    302: _NOT_S3,
    308: _NOT_S3,
    403: _DENIED,
    404: _NOT_S3,
    405: _NOT_S3,
    408: _ILL,
    429: _THROTTLED,
    500: _ILL,
    501: _REFUSED,
    502: _ILL,
    503: _ILL,
    504: _ILL,
}
"""The failures by the HTTP status of an answer without a body, or with one not of S3."""

_EXCEPTIONS = {
    "NoCredentialsError": _NO_KEYS,
    "PartialCredentialsError": _NO_KEYS,
    "ParamValidationError": _INVALID,
    "ResponseParserError": _NOT_S3,
    "SSLError": _TLS,
    "ReadTimeoutError": _SILENT,
    "ResponseStreamingError": _CUT_SHORT,
    "IncompleteReadError": _CUT_SHORT,
    "ConnectionClosedError": _CLOSED,
    "ConnectionError": _NO_CONNECTION,
    "HTTPClientError": _NO_CONNECTION,
}
"""The failures by the name of botocore's exception class; the narrowest named class counts."""


_PASSING = frozenset({"s3.throttled", "s3.tls", "s3.unavailable", "s3.unreachable"})
"""Codes of failures after which a request is repeated; a TLS handshake may be cut off, too."""


def _answered(
    response: Mapping[str, Any], storage: Storage, key: str, *, head: bool
) -> BackupError:
    """Turn an answer into an error. It may quote the server, which never saw our secret."""
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code, said = str(error.get("Code", "")), str(error.get("Message") or "")
    meaning = _ANSWERS.get(code) or (head and _HEAD_STATUSES.get(status)) or _STATUSES.get(status)
    return _said(meaning or _FAILED, storage, key, f"{code} {said}")


def _raised(error: Exception, storage: Storage, key: str) -> BackupError:
    ancestors = (kind.__name__ for kind in type(error).__mro__)
    meaning = next((_EXCEPTIONS[name] for name in ancestors if name in _EXCEPTIONS), _FAILED)
    return _said(meaning, storage, key, str(error))


def _said(meaning: _Meaning, storage: Storage, key: str, words: str) -> BackupError:
    unreachable = issubclass(meaning.kind, UnreachableError)
    where = storage.endpoint or "S3" if unreachable else place(storage, key)
    quotation = f" ({' '.join(words.split())})" if meaning.quoted else ""
    return meaning.kind(meaning.code, f"{where}: {meaning.sentence}{quotation}", meaning.hint)
