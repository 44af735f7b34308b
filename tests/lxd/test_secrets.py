"""A base warns of secrets in a configuration where whoever reads the bucket can read them."""

from dataclasses import replace
from pathlib import Path

import pytest

from three_backup.model.encryption import EncryptionKeys
from three_backup.model.storage import Storage
from three_backup.sources.lxd.secrets import warning

_PLAIN = Storage(Path("/srv/backups"), bucket="b")
_DESCRIBED = {
    "configuration": {"config": {"environment.TOKEN": "hush", "limits.cpu": "2"}},
    "profiles": [{"config": {"cloud-init.user-data": "hush"}}],
}
_KEYS = EncryptionKeys.parse("5a" * 32)


@pytest.mark.parametrize(
    ("storage", "readable"),
    [
        (_PLAIN, "whoever reads the bucket"),
        (replace(_PLAIN, bucket=None), "whoever reads /srv/backups"),
        (replace(_PLAIN, encryption_key=_KEYS, encrypt_names=False), "whoever reads the bucket"),
    ],
    ids=["plain", "here", "names plain"],
)
def test_what_may_be_secret_is_named_without_its_value(storage: Storage, readable: str) -> None:
    told = warning(_DESCRIBED, storage)
    assert told.startswith("cloud-init.user-data, environment.TOKEN may hold secrets")
    assert told.endswith(readable)
    assert "hush" not in told


def test_nothing_is_said_where_the_bucket_holds_it_encrypted_or_where_nothing_is_secret() -> None:
    assert warning(_DESCRIBED, replace(_PLAIN, encryption_key=_KEYS)) == ""
    assert warning({"configuration": {"config": {"limits.cpu": "2"}}}, _PLAIN) == ""
