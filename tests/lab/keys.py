"""A SeaweedFS that issues access keys which may do some things and not others."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from three_backup.demo.seaweed import SeaweedServer

SECRET = "hush-hush"
_READ = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention")
_WRITE = (*_READ, "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_BUCKET = (
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:ListBucketMultipartUploads",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
)
_LOCK, _DELETE, _VERSIONS = "s3:PutObjectRetention", "s3:DeleteObject", "s3:DeleteObjectVersion"

KEYS: Mapping[str, Sequence[str]] = {
    "reader": (*_BUCKET, *_READ),
    "writer": (*_BUCKET, *_WRITE, _LOCK),
    "without-abort": [
        action for action in (*_BUCKET, *_WRITE, _LOCK) if action != "s3:AbortMultipartUpload"
    ],
    "without-lock": (*_BUCKET, *_WRITE),
    "deleter": (*_BUCKET, *_WRITE, _LOCK, _DELETE),
    "keeper": (*_BUCKET, *_WRITE, _LOCK, _DELETE, "s3:PutBucketVersioning"),
    "destroyer": (*_BUCKET, *_WRITE, _LOCK, _DELETE, _VERSIONS),
    "lifter": (
        *(*_BUCKET, *_WRITE, _LOCK, _DELETE, _VERSIONS),
        "s3:BypassGovernanceRetention",
    ),
}
"""The actions that each key may do, in every bucket; the server's own key may do everything."""


def policy(actions: Sequence[str], bucket: str = "*") -> str:
    """Return the policy that allows the actions."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def issuing(folder: Path, keys: Mapping[str, str] | None = None) -> Iterator[SeaweedServer]:
    """Yield a server that knows KEYS, or those of the policies by their names."""
    policies = keys or {name: policy(actions) for name, actions in KEYS.items()}
    folder.mkdir(mode=0o700)
    told = {
        "policies": [{"name": name, "content": text} for name, text in policies.items()],
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": SECRET}],
                "policyNames": [name],
            }
            for name in policies
        ],
    }
    (folder / "keys.json").write_text(json.dumps(told))
    options = (f"-s3.config={folder / 'keys.json'}",)
    with SeaweedServer(folder / "s3", options=options) as server:
        yield server
