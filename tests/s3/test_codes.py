"""The sorted table of error codes: what each means, and that none is overlooked."""

from typing import Any

import pytest
from swift.common.middleware.s3api import s3response  # type: ignore[import-untyped]

from three_backup.errors import _REFUSALS
from three_backup.s3 import meanings
from three_backup.s3.codes import CODES, HEAD_STATUSES, STATUSES, WORDS, meaning_of
from three_backup.s3.meanings import Meaning, Sort

EVERY = [value for value in vars(meanings).values() if isinstance(value, Meaning)]
NO_REQUEST_OF_OURS = frozenset(
    {
        *("AmbiguousGrantByEmailAddress", "UnresolvableGrantByEmailAddress", "MalformedACLError"),
        *("BucketAlreadyOwnedByYou", "BucketNotEmpty", "IllegalVersioningConfigurationException"),
        *("CrossLocationLoggingProhibited", "InvalidTargetBucketForLogging"),
        *("IncorrectNumberOfFilesInPostRequest", "InlineDataTooLarge", "MalformedPOSTRequest"),
        *("MaxPostPreDataLengthExceededError", "RequestIsNotMultiPartContent"),
        *("UserKeyMustBeSpecified", "InvalidPolicyDocument", "NotSuchBucketPolicy"),
        *("InvalidSOAPRequest", "MissingSecurityElement", "NoLoggingStatusForKey"),
        *("NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError"),
        *("RequestTorrentOfBucketError", "RestoreAlreadyInProgress", "PreconditionFailed"),
        *("AuthorizationQueryParametersError", "MalformedTrailerError", "InvalidChunkSizeError"),
        *("InvalidPartNumber", "MetadataTooLarge", "UnexpectedContent"),
    }
)
OUR_MISTAKE = frozenset(
    {
        *("EntityTooSmall", "InvalidArgument", "InvalidDigest", "InvalidPartOrder", "InvalidURI"),
        *("KeyTooLongError", "MalformedXML", "MissingContentLength", "MissingRequestBodyError"),
    }
)
"""Nothing can be mended by an option: the server is quoted."""


@pytest.mark.parametrize(
    ("status", "code", "said", "meant", "sort"),
    [
        (403, "AccessDenied", "Access Denied.", "s3.denied", Sort.OURS),
        (403, "QuotaExceeded", "", "s3.full", Sort.FULL),
        (403, "StorageCapExceeded", "", "s3.full", Sort.FULL),
        (403, "AccessDenied", "Cannot upload files, storage cap exceeded.", "s3.full", Sort.FULL),
        (413, "EntityTooLarge", "Upload exceeds quota.", "s3.full", Sort.FULL),
        (400, "XMinioAdminBucketQuotaExceeded", "", "s3.full", Sort.FULL),
        (507, "", "", "s3.full", Sort.FULL),
        (507, "XMinioStorageFull", "", "s3.full", Sort.FULL),
        (403, "InvalidObjectState", "", "s3.archived", Sort.OURS),
        (403, "KMS.DisabledException", "", "s3.kms", Sort.OURS),
        (403, "AccessDenied", "not authorized to perform: kms:Decrypt on", "s3.kms", Sort.OURS),
        (400, "KMS.ThrottlingException", "", "s3.throttled", Sort.THEIRS),
        (400, "ExpiredToken", "", "s3.token", Sort.OURS),
        (403, "InvalidTokenId", "", "s3.token", Sort.OURS),
        (401, "Unauthorized", "", "s3.signature", Sort.OURS),
        (402, "", "", "s3.account", Sort.OURS),
        (403, "UserSuspended", "", "s3.account", Sort.OURS),
        (301, "PermanentRedirect", "", "s3.moved", Sort.OURS),
        (400, "IncompleteBody", "", "s3.unheard", Sort.THEIRS),
        (400, "RequestTimeout", "", "s3.unheard", Sort.THEIRS),
        (409, "OperationAborted", "", "s3.conflict", Sort.THEIRS),
        (409, "BrokenMPU", "", "s3.rotten", Sort.FORGED),
        (409, "SomethingElse", "", "s3.failed", Sort.UNKNOWN),
        (400, "BadDigest", "", "s3.damaged", Sort.FORGED),
        (416, "InvalidRange", "", "s3.range", Sort.FORGED),
        (404, "NoSuchUpload", "", "s3.no_upload", Sort.GONE),
        (400, "InvalidPart", "", "s3.no_part", Sort.GONE),
        (501, "", "", "s3.refused", Sort.LACKING),
        (400, "InvalidRequest", "Object is WORM protected", "s3.locked", Sort.OURS),
        (403, "AccessDenied", "object protected by object lock.", "s3.locked", Sort.OURS),
        (400, "InvalidRequest", "a form of Server Side Encryption", "s3.encryption", Sort.OURS),
        (403, "AccessDenied", "denied on arn:aws:s3:::b/retention/1", "s3.denied", Sort.OURS),
        (524, "", "", "s3.unavailable", Sort.THEIRS),
    ],
)
def test_an_answer_is_sorted_by_who_can_mend_it(
    status: int, code: str, said: str, meant: str, sort: Sort
) -> None:
    found = meaning_of(code, said, status)
    assert (found.code, found.sort) == (meant, sort)


def test_every_meaning_says_what_to_do_and_is_used() -> None:
    for meaning in EVERY:
        silent = meaning.sort in (Sort.GONE, Sort.LACKING, Sort.UNKNOWN)
        assert bool(meaning.hint) or silent, meaning
        assert not meaning.sentence.endswith("."), meaning
    used = {*CODES.values(), *WORDS.values(), *STATUSES.values(), *HEAD_STATUSES.values()}
    of_the_client = {
        "s3.invalid",
        "s3.no_keys",
        "s3.proxy",
        "s3.tls",
        "s3.unreachable",
        "s3.failed",
    }
    told = {"the key was deleted"}
    assert {
        meaning.sentence for meaning in set(EVERY) - used if meaning.code not in of_the_client
    } == told


def test_what_every_request_would_meet_has_a_meaning() -> None:
    assert {meaning.code for meaning in EVERY} > _REFUSALS


def test_no_code_of_swift_is_overlooked() -> None:
    kinds: list[Any] = [kind for kind in vars(s3response).values() if hasattr(kind, "_code")]
    codes = {kind._code or kind.__name__ for kind in kinds if kind._status}
    assert codes - set(CODES) - NO_REQUEST_OF_OURS - OUR_MISTAKE == set()


def test_the_table_is_kept_in_the_order_of_its_meanings() -> None:
    sorts = [meaning.sort for meaning in CODES.values()]
    assert sorted(sorts, key=list(Sort).index) == sorts
