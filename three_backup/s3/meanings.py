"""The meanings of S3 failures for the operator: sorts, sentences and remedies."""

from dataclasses import dataclass
from enum import StrEnum

from three_backup.errors import BackupError, ConfigurationError, UnreachableError


class MissingError(BackupError):
    """The key or the multipart upload does not exist."""


class RefusedError(BackupError):
    """The server does not offer this request."""


class Sort(StrEnum):
    """The party that can mend it."""

    OURS = "ours"  # the operator: an option, a right, the clock
    THEIRS = "theirs"  # the server, by itself: the same request may succeed later
    FULL = "full"  # whoever pays for the room
    GONE = "gone"  # nobody: it does not exist
    FORGED = "forged"  # nobody: the bytes are not those that were sent or stored
    LACKING = "lacking"  # nobody: the server does not offer the request
    UNKNOWN = "unknown"  # nobody knows; the server is quoted


@dataclass(frozen=True, slots=True)
class Meaning:
    """The BackupError that a failure becomes."""

    sort: Sort
    code: str
    sentence: str
    hint: str = ""
    quoted: bool = False  # also quote the server or botocore
    kind: type[BackupError] = BackupError


_CARRIES_ON = "check s3_endpoint and the network; the next run carries on where this one stopped"
KEYS = "s3_access_key and s3_secret_key"
"""The keys of the configuration, as every remedy calls them."""

_CHECK_KEYS = f"check {KEYS}"
_RENEW = "renew AWS_SESSION_TOKEN, ~/.aws or the role of this host, whichever gave it"
_ROOM = "make room there or raise the quota, the cap or the plan; the next run carries on"
_OLDER = "restore an older snapshot; the next base replaces it"
_PROXIES = "correct HTTP_PROXY or HTTPS_PROXY, or name the host in NO_PROXY"
_AGAIN = "the next run sends it again"


def _ours(code: str, sentence: str, hint: str, *, quoted: bool = False) -> Meaning:
    return Meaning(Sort.OURS, f"s3.{code}", sentence, hint, quoted)


def _theirs(code: str, sentence: str, hint: str = _CARRIES_ON, *, quoted: bool = False) -> Meaning:
    return Meaning(Sort.THEIRS, f"s3.{code}", sentence, hint, quoted, UnreachableError)


DENIED = _ours(
    "denied", "access is denied", f"{_CHECK_KEYS} and what the policy of the bucket lets them do"
)
SIGNATURE = _ours(
    "signature",
    "the server does not accept the access key or what was signed with its secret",
    _CHECK_KEYS,
)
EXPIRED = _ours("token", "the session token of the temporary access key has expired", _RENEW)
TOKEN = _ours("token", "the server does not accept the session token of the access key", _RENEW)
ACCOUNT = _ours(
    "account", "the provider has closed the account or the bucket", "ask the provider", quoted=True
)
CLOCK = _ours(
    "clock", "the server finds the clock of this host wrong", "set the clock, by NTP for instance"
)
REGION = _ours("region", "the region is wrong", "set s3_region", quoted=True)
MOVED = _ours("moved", "the server sends us elsewhere", "correct s3_endpoint", quoted=True)
NO_BUCKET = _ours("no_bucket", "there is no such bucket", "create it or correct s3_bucket")
BUCKET = _ours("bucket", "the server does not take the bucket", "correct s3_bucket", quoted=True)
STORAGE_CLASS = _ours(
    "storage_class",
    "the server does not know the storage class",
    "correct or remove s3_storage_class",
)
ARCHIVED = _ours(
    "archived",
    "the key lies in an archive and cannot be read now",
    "have the archive restore it (RestoreObject), and keep lifecycle rules off this prefix",
)
LOCKED = _ours(
    "locked",
    "a lock of the store (retention, legal hold) keeps it",
    "wait until the lock ends, or have its owner end it; the next run tries again",
    quoted=True,
)
KMS = _ours(
    "kms",
    "the key management of the store (KMS) refuses",
    "enable the key that encrypts the bucket, and allow s3_access_key kms:GenerateDataKey and "
    "kms:Decrypt with it",
    quoted=True,
)
ENCRYPTION = _ours(
    "encryption",
    "the store wants a key of ours for its encryption (SSE-C), which is never sent",
    "let the bucket encrypt by itself (SSE-S3, SSE-KMS), and no policy demand SSE-C",
    quoted=True,
)
PROXY = _ours("proxy", "the HTTP proxy refuses", _PROXIES, quoted=True)

THROTTLED = _theirs(
    "throttled",
    "the S3 server asks for fewer requests",
    "the next run carries on; ask the provider for the limits of the bucket",
)
ILL = _theirs("unavailable", "the S3 server fails", quoted=True)
CONFLICT = _theirs("conflict", "the S3 server is at work on the same thing", quoted=True)
UNHEARD = _theirs("unheard", "the S3 server did not receive the whole request", quoted=True)

FULL = Meaning(
    Sort.FULL,
    "s3.full",
    "the store is full, or a quota or cap of it is used up",
    _ROOM,
    quoted=True,
)
TOO_LARGE = Meaning(
    Sort.FULL,
    "s3.full",
    "the server takes no body of this size, or has no room for it",
    f"{_ROOM}; parts have 16 MiB, which a proxy before the server must let through",
    quoted=True,
)

MISSING = Meaning(Sort.GONE, "s3.missing", "nothing is stored under this key", kind=MissingError)
DELETED = Meaning(
    Sort.GONE,
    "s3.missing",
    "the key was deleted",
    "the bucket keeps versions: an earlier one can be brought back (ListObjectVersions)",
    kind=MissingError,
)
NO_UPLOAD = Meaning(
    Sort.GONE, "s3.no_upload", "the multipart upload is not there", kind=MissingError
)
NO_PART = Meaning(Sort.GONE, "s3.no_part", "the server lacks a part that it received", _AGAIN)

DAMAGED = Meaning(
    Sort.FORGED, "s3.damaged", "the server received other bytes than were sent", _AGAIN
)
SHORTER = Meaning(Sort.FORGED, "s3.range", "the key is shorter than it was", _OLDER)
ROTTEN = Meaning(Sort.FORGED, "s3.rotten", "the store finds the key damaged", _OLDER, quoted=True)

REFUSED = Meaning(
    Sort.LACKING,
    "s3.refused",
    "the server does not offer this request",
    quoted=True,
    kind=RefusedError,
)
NOT_S3 = Meaning(
    Sort.OURS,
    "s3.not_s3",
    "what answers there is no S3 server",
    "check s3_endpoint",
    kind=UnreachableError,
)
FAILED = Meaning(Sort.UNKNOWN, "s3.failed", "the request failed", quoted=True)

INVALID = Meaning(
    Sort.OURS,
    "s3.invalid",
    "this cannot be asked for",
    "correct s3_bucket",
    quoted=True,
    kind=ConfigurationError,
)
NO_KEYS = Meaning(
    Sort.OURS,
    "s3.no_keys",
    "there is no access key",
    "set s3_access_key and s3_secret_key",
    kind=ConfigurationError,
)
TLS = _theirs(  # a handshake may be cut off, too
    "tls",
    "no trusted connection",
    "name the authority of its certificate with s3_ca_file, or write http:// in s3_endpoint where "
    "the server speaks no TLS",
    quoted=True,
)
NO_CONNECTION = _theirs("unreachable", "the S3 server cannot be connected to")
NO_TUNNEL = _theirs("proxy", "the HTTP proxy does not lead to it", _PROXIES, quoted=True)
CLOSED = _theirs("unreachable", "the S3 server closed the connection")
SILENT = _theirs("unreachable", "the S3 server went silent")
CUT_SHORT = _theirs("unreachable", "the S3 server cut its answer short")
