"""What botocore raises, said in sentences: the one place where its exceptions are interpreted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from three_backup.errors import BackupError, ConfigurationError, UnreachableError
from three_backup.storage import Storage


class MissingError(BackupError):
    """The key, or the multipart upload, is not there."""


class RefusedError(BackupError):
    """The server does not offer this request."""


def place(storage: Storage, key: str = "") -> str:
    """How a person finds it; key: relative to the prefix."""
    parts = (storage.bucket or "", storage.prefix, key)
    return "s3://" + "/".join(part for part in parts if part)


@contextmanager
def explained(storage: Storage, key: str = "") -> Iterator[None]:
    """Raises BackupError, its subclasses and nothing of botocore's out of the block."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _answered(error, storage, key) from error
    except BotoCoreError as error:
        raise _unanswered(error, storage, key) from error


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[BackupError]
    code: str
    sentence: str
    hint: str


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
_REGION = _Meaning(BackupError, "s3.region", "the region is wrong", "set s3_region")
_NO_BUCKET = _Meaning(
    BackupError, "s3.no_bucket", "there is no such bucket", "create it or correct s3_bucket"
)
_MISSING = _Meaning(MissingError, "s3.missing", "nothing is stored under this key", "")
_NO_UPLOAD = _Meaning(MissingError, "s3.no_upload", "the multipart upload is not there", "")
_THROTTLED = _Meaning(
    BackupError,
    "s3.throttled",
    "the server went on asking for fewer requests",
    "the next run carries on; ask the provider about the bucket's rate limits",
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
_REFUSED = _Meaning(RefusedError, "s3.refused", "the server does not offer this request", "")

_ERROR_CODES = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": _SIGNATURE,
    "SignatureDoesNotMatch": _SIGNATURE,
    "InvalidToken": _SIGNATURE,
    "ExpiredToken": _SIGNATURE,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidRegionName": _REGION,
    "301": _REGION,
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchKey": _MISSING,
    "404": _MISSING,
    "NoSuchUpload": _NO_UPLOAD,
    "SlowDown": _THROTTLED,
    "TooManyRequests": _THROTTLED,
    "429": _THROTTLED,
    "InvalidStorageClass": _STORAGE_CLASS,
    "BadDigest": _DAMAGED,
    "NotImplemented": _REFUSED,
    "MethodNotAllowed": _REFUSED,
    "InvalidRequest": _REFUSED,
    "501": _REFUSED,
    "405": _REFUSED,
}


def _answered(error: Exception, storage: Storage, key: str) -> BackupError:
    """error: a ClientError. Its message is the server's, which never saw our secret."""
    response = getattr(error, "response", {})
    answer = response.get("Error", {})
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    code, said = str(answer.get("Code", "")), str(answer.get("Message") or "no message")
    meaning = _ERROR_CODES.get(code) or _ERROR_CODES.get(status)
    where = place(storage, key)
    if meaning is None:
        return BackupError("s3.failed", f"{where}: the server answered {code or status}: {said}")
    if meaning in (_NO_BUCKET, _DENIED):
        where = place(storage, key)
    detail = f" ({said})" if meaning in (_REGION, _REFUSED) else ""
    return meaning.kind(meaning.code, f"{where}: {meaning.sentence}{detail}", meaning.hint)


def _unanswered(error: Exception, storage: Storage, key: str) -> BackupError:
    """error: a BotoCoreError, raised on this side of the connection."""
    from botocore import exceptions as boto

    server = storage.endpoint or "S3"
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return ConfigurationError(
            "s3.no_keys",
            f"{place(storage)}: there is no access key",
            "set s3_access_key and s3_secret_key",
        )
    if isinstance(error, boto.ParamValidationError):
        return ConfigurationError(
            "s3.invalid", f"{place(storage, key)}: {_first_line(error)}", "correct s3_bucket"
        )
    if isinstance(error, boto.SSLError):
        return UnreachableError(
            "s3.tls",
            f"{server}: no trusted connection ({_first_line(error)})",
            "name the authority of its certificate in AWS_CA_BUNDLE, "
            "or write http:// in s3_endpoint where the server speaks no TLS",
        )
    if isinstance(error, boto.ResponseParserError):
        return BackupError(
            "s3.failed", f"{server}: this does not answer like S3", "check s3_endpoint"
        )
    if isinstance(error, (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError)):
        return UnreachableError(
            "s3.unreachable",
            f"{server}: {_broken(error)}",
            "check s3_endpoint and the network; the next run carries on where this one stopped",
        )
    return BackupError("s3.failed", f"{place(storage, key)}: {_first_line(error)}")


def _broken(error: Exception) -> str:
    from botocore import exceptions as boto

    if isinstance(error, boto.ReadTimeoutError):
        return "the S3 server went silent"
    if isinstance(error, (boto.ResponseStreamingError, boto.IncompleteReadError)):
        return "the S3 server cut its answer short"
    if isinstance(error, boto.ConnectionClosedError):
        return "the S3 server closed the connection"
    return "the S3 server cannot be connected to"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])
