"""Sign a part with its SHA-256, which is known, in place of hashing it once more.

boto3 takes the hash as ChecksumSHA256 and would send it as a header. Here it becomes the hash of
the body that is signed, `x-amz-content-sha256`; the header goes as well only if ChecksumAlgorithm
is named, since AWS refuses it in an upload that was begun without one.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth  # type: ignore[import-untyped]

_CHECKSUM = "x-amz-checksum-sha256"
_ALGORITHM = "x-amz-sdk-checksum-algorithm"
_KNOWN = "three_backup.sha256"
_SIGNER = "three_backup.s3v4"
_PLAIN = frozenset({None, "v4", "s3v4"})
"""The kinds of signature that a bucket may ask for, and for which ours will do."""


def register(events: Any) -> None:
    """Sign the parts of a client so. events: of the client."""
    AUTH_TYPE_MAPS[_SIGNER] = _Signer
    events.register("before-call.s3.UploadPart", _take)
    events.register("choose-signer.s3.UploadPart", _choose)


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer, told the hash of the body."""

    def payload(self, request: Any) -> str:
        return str(request.context[_KNOWN])


def _take(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    headers = params["headers"]
    if _CHECKSUM in headers:
        context[_KNOWN] = b64decode(headers[_CHECKSUM]).hex()
        if headers.pop(_ALGORITHM, None) is None:
            del headers[_CHECKSUM]


def _choose(context: Mapping[str, Any], **_: Any) -> str | None:
    return _SIGNER if _KNOWN in context and context.get("auth_type") in _PLAIN else None
