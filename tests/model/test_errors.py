"""Which errors mean that S3 is away, so that only local snapshots can be used."""

from pathlib import Path

import pytest

from three_backup.errors import BackupError, ConfigurationError, UnreachableError, s3_is_away
from three_backup.model.storage import Storage
from three_backup.s3.store import Store


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (UnreachableError("s3.unreachable", "x"), True),
        (BackupError("s3.denied", "x"), True),
        (BackupError("s3.no_bucket", "x"), True),
        (BackupError("s3.clock", "x"), True),
        (BackupError("s3.token", "x"), True),
        (BackupError("s3.account", "x"), True),
        (BackupError("s3.full", "x"), False),
        (BackupError("s3.missing", "x"), False),
        (BackupError("s3.damaged", "x"), False),
        (BackupError("s3.foreign", "x"), False),
        (BackupError("manifest.malformed", "x"), False),
        (ConfigurationError("s3.owner", "x"), False),
        (ConfigurationError("s3.no_keys", "x"), False),
    ],
)
def test_s3_is_away_where_it_refuses_everything(error: BackupError, away: bool) -> None:
    assert s3_is_away(error) is away


def test_a_bucket_that_is_not_configured_is_not_away(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Store(Storage(tmp_path))
    assert not s3_is_away(raised.value)
