"""The error codes and statuses of S3 servers by their meanings.

Gone through: the lists of AWS, Ceph RGW, MinIO, Garage, SeaweedFS, Swift, R2 and B2. What no
request of ours is answered with (access lists, websites, forms, replication) is left out.
"""

import re
from collections.abc import Mapping

from three_backup.s3 import meanings
from three_backup.s3.meanings import Meaning

CODES: Mapping[str, Meaning] = {
    "AccessDenied": meanings.DENIED,
    "AccessForbidden": meanings.DENIED,
    "Forbidden": meanings.DENIED,
    "UnauthorizedAccess": meanings.DENIED,  # MinIO, R2
    "XMinioInvalidIAMCredentials": meanings.DENIED,  # MinIO
    "InvalidAccessKeyId": meanings.SIGNATURE,
    "InvalidSecurity": meanings.SIGNATURE,
    "InvalidSecretKey": meanings.SIGNATURE,  # RGW
    "SignatureDoesNotMatch": meanings.SIGNATURE,
    "MissingSecurityHeader": meanings.SIGNATURE,
    "MissingAuthenticationToken": meanings.SIGNATURE,
    "CredentialsNotSupported": meanings.SIGNATURE,
    "Unauthorized": meanings.SIGNATURE,  # R2
    "ExpiredToken": meanings.EXPIRED,
    "ExpiredTokenException": meanings.EXPIRED,
    "TokenRefreshRequired": meanings.EXPIRED,
    "InvalidToken": meanings.TOKEN,
    "InvalidTokenId": meanings.TOKEN,  # MinIO
    "InvalidClientTokenId": meanings.TOKEN,
    "AccountProblem": meanings.ACCOUNT,
    "AllAccessDisabled": meanings.ACCOUNT,
    "InvalidPayer": meanings.ACCOUNT,
    "NotSignedUp": meanings.ACCOUNT,
    "UserSuspended": meanings.ACCOUNT,  # RGW
    "ExpiredRequest": meanings.CLOCK,  # R2
    "RequestExpired": meanings.CLOCK,
    "RequestTimeTooSkewed": meanings.CLOCK,
    "AuthorizationHeaderMalformed": meanings.REGION,
    "IllegalLocationConstraintException": meanings.REGION,
    "InvalidLocationConstraint": meanings.REGION,
    "InvalidRegion": meanings.REGION,
    "InvalidRegionName": meanings.REGION,  # R2
    "PermanentRedirect": meanings.MOVED,
    "Redirect": meanings.MOVED,
    "TemporaryRedirect": meanings.MOVED,
    "EndpointNotFound": meanings.MOVED,
    "XMinioInsecureClientRequest": meanings.MOVED,  # MinIO: https only
    "NoSuchBucket": meanings.NO_BUCKET,
    "BucketAlreadyExists": meanings.BUCKET,
    "InvalidBucketName": meanings.BUCKET,
    "InvalidBucketState": meanings.BUCKET,
    "TooManyBuckets": meanings.BUCKET,
    "InvalidStorageClass": meanings.STORAGE_CLASS,
    "InvalidObjectState": meanings.ARCHIVED,
    "ObjectNotInActiveTierError": meanings.ARCHIVED,
    "ObjectLocked": meanings.LOCKED,
    "ObjectLockedByBucketPolicy": meanings.LOCKED,  # R2
    "FileLocked": meanings.LOCKED,
    "XComplianceConflict": meanings.LOCKED,  # StorageGRID
    "KMS.AccessDeniedException": meanings.KMS,
    "KMS.DisabledException": meanings.KMS,
    "KMS.InvalidKeyUsageException": meanings.KMS,
    "KMS.InvalidStateException": meanings.KMS,
    "KMS.KMSInvalidStateException": meanings.KMS,
    "KMS.NotFoundException": meanings.KMS,
    "KMS.UnsupportedOperationException": meanings.KMS,
    "KMSNotConfigured": meanings.KMS,  # MinIO
    "kms:InvalidCiphertextException": meanings.KMS,  # MinIO
    "kms:KeyNotFound": meanings.KMS,  # MinIO
    "kms:NotAuthorized": meanings.KMS,  # MinIO
    "kms:NotSupported": meanings.KMS,  # MinIO
    "EncryptionTypeMismatch": meanings.ENCRYPTION,
    "InvalidEncryptionAlgorithmError": meanings.ENCRYPTION,
    "ErrTooManyRequest": meanings.THROTTLED,  # SeaweedFS
    "ErrRequestBytesExceed": meanings.THROTTLED,  # SeaweedFS
    "BandwidthLimitExceeded": meanings.THROTTLED,
    "KMS.ThrottlingException": meanings.THROTTLED,
    "RequestLimitExceeded": meanings.THROTTLED,
    "ServerBusy": meanings.THROTTLED,  # MinIO
    "SlowDown": meanings.THROTTLED,
    "SlowDownRead": meanings.THROTTLED,  # MinIO
    "SlowDownWrite": meanings.THROTTLED,  # MinIO
    "Throttling": meanings.THROTTLED,
    "ThrottlingException": meanings.THROTTLED,
    "TooManyRequests": meanings.THROTTLED,  # MinIO, R2
    "TooManyRequestsException": meanings.THROTTLED,
    "InternalError": meanings.ILL,
    "InternalServerError": meanings.ILL,
    "KMS.InternalException": meanings.ILL,
    "KMS.KeyUnavailableException": meanings.ILL,
    "ServiceUnavailable": meanings.ILL,
    "UnknownError": meanings.ILL,  # RGW
    "XMinioBackendDown": meanings.ILL,  # MinIO
    "XMinioBucketMetadataNotInitialized": meanings.ILL,  # MinIO
    "XMinioIAMNotInitialized": meanings.ILL,  # MinIO
    "XMinioServerNotInitialized": meanings.ILL,  # MinIO
    "ConditionalRequestConflict": meanings.CONFLICT,
    "Locked": meanings.CONFLICT,  # RGW
    "OperationAborted": meanings.CONFLICT,
    "ClientDisconnected": meanings.UNHEARD,  # MinIO
    "IncompleteBody": meanings.UNHEARD,
    "RequestTimeout": meanings.UNHEARD,
    "CapExceeded": meanings.FULL,  # B2
    "DownloadCapExceeded": meanings.FULL,  # B2
    "InsufficientCapacity": meanings.FULL,  # FSx
    "InsufficientStorage": meanings.FULL,
    "LimitExceeded": meanings.FULL,  # RGW
    "QuotaExceeded": meanings.FULL,  # RGW
    "StorageCapExceeded": meanings.FULL,  # B2
    "TransactionCapExceeded": meanings.FULL,  # B2
    "XMinioAdminBucketQuotaExceeded": meanings.FULL,  # MinIO
    "XMinioStorageFull": meanings.FULL,  # MinIO
    "EntityTooLarge": meanings.TOO_LARGE,  # Swift says so of its quotas, too
    "MaxMessageLengthExceeded": meanings.TOO_LARGE,
    "NoSuchKey": meanings.MISSING,
    "NoSuchVersion": meanings.MISSING,
    "NoSuchUpload": meanings.NO_UPLOAD,
    "InvalidPart": meanings.NO_PART,
    "BadDigest": meanings.DAMAGED,
    "XAmzContentChecksumMismatch": meanings.DAMAGED,  # MinIO
    "XAmzContentSHA256Mismatch": meanings.DAMAGED,
    "InvalidRange": meanings.SHORTER,
    "BrokenMPU": meanings.ROTTEN,  # Swift
    "XMinioObjectTampered": meanings.ROTTEN,  # MinIO
    "InvalidRequest": meanings.REFUSED,
    "MethodNotAllowed": meanings.REFUSED,
    "NotImplemented": meanings.REFUSED,
    "XNotImplemented": meanings.REFUSED,  # StorageGRID
}
"""The meanings by the error code of the answer."""

WORDS: Mapping[str, Meaning] = {
    r"\bcap exceeded": meanings.FULL,  # B2
    r"\bquota\b.*\bexceeded|\bexceeds\b.*\bquota": meanings.FULL,  # Swift
    r"\bperform: kms:|\bKMS key\b": meanings.KMS,  # AWS
    r"\bserver[ -]side encryption|\bSSE-C\b|\bcustomer key\b": meanings.ENCRYPTION,
    r"\bobject lock\b|\bWORM\b|\bretention\b|\blegal hold\b": meanings.LOCKED,
}
"""The meanings of vague codes by words of the message, as regular expressions."""

_VAGUE = frozenset({"AccessDenied", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"})

_NAMED = re.compile(r"\barn:\S+|\bs3://\S+")

STATUSES: Mapping[int, Meaning] = {
    301: meanings.NOT_S3,
    302: meanings.NOT_S3,
    303: meanings.NOT_S3,
    307: meanings.NOT_S3,
    308: meanings.NOT_S3,
    401: meanings.SIGNATURE,
    402: meanings.ACCOUNT,
    403: meanings.DENIED,
    404: meanings.NOT_S3,
    405: meanings.NOT_S3,
    407: meanings.PROXY,
    408: meanings.ILL,
    413: meanings.TOO_LARGE,
    416: meanings.SHORTER,
    423: meanings.CONFLICT,
    425: meanings.ILL,
    429: meanings.THROTTLED,
    500: meanings.ILL,
    501: meanings.REFUSED,
    502: meanings.ILL,
    503: meanings.ILL,
    504: meanings.ILL,
    507: meanings.FULL,
    509: meanings.THROTTLED,
    520: meanings.ILL,  # to 524: Cloudflare does not reach the server
    521: meanings.ILL,
    522: meanings.ILL,
    523: meanings.ILL,
    524: meanings.ILL,
    529: meanings.THROTTLED,
}
"""The meanings by the HTTP status of an answer without a body, or with one not of S3."""

HEAD_STATUSES: Mapping[int, Meaning] = {
    301: meanings.REGION,
    307: meanings.MOVED,
    404: meanings.MISSING,
}
"""The meanings by the HTTP status of an answer to HEAD, which has no body."""


def meaning_of(code: str, said: str, status: int, *, head: bool = False) -> Meaning:
    """Return the meaning of an answer.

    said: the message of the server. head: the request was a HEAD.
    """
    if code in _VAGUE or status == 413:
        unnamed = _NAMED.sub("", said)  # a key or bucket may have any name
        for words, meaning in WORDS.items():
            if re.search(words, unnamed, re.IGNORECASE):
                return meaning
    known = CODES.get(code) or (HEAD_STATUSES.get(status) if head else None)
    return known or STATUSES.get(status, meanings.FAILED)
