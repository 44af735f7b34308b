"""Further stores of the configuration: what they take from elsewhere, and slips in them."""

import pytest

from three_backup.config.configuration import Configuration
from three_backup.errors import ConfigurationError
from three_backup.model.objects import ObjectId
from three_backup.model.retention import Limits

from .conftest import Configure

TABLE = ObjectId.parse("postgres/table/shop/public/orders")
FIRST = """
- "*":
    s3_endpoint: s3.example.com
    s3_bucket: backups
    s3_prefix: db1
    s3_region: here
    s3_access_key: first
    s3_secret_key: secret
    keep_daily: 7
    copy_to: vault
"""
VAULT = """
- stores:
    vault:
      s3_endpoint: s3.example.org
      s3_bucket: copies
      keep_yearly: 3
      max_base_snapshots_s3: 1
"""


def mistakes(configure: Configure, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configure(text)
    return str(caught.value)


def copies(configuration: Configuration, name: str = "vault") -> object:
    return configuration.copies(name, configuration.settings(TABLE).storage)


def test_a_store_takes_the_prefix_of_the_objects_and_nothing_else(configure: Configure) -> None:
    configuration = configure(FIRST + VAULT)
    first = configuration.settings(TABLE).storage
    found = configuration.copies("vault", first)
    assert configuration.settings(TABLE).copy_to == "vault"
    assert (found.place, found.store) == (("https://s3.example.org", "copies", "db1"), "vault")
    assert (found.access_key, found.secret_key, found.region) == (None, None, None)
    assert found.local_dir == first.local_dir
    assert found.snapshots_dir == first.local_dir / "stores" / "vault"
    assert configuration.limits_of_copies("vault") == Limits(1, 3, 1, 40, years=3)
    assert configuration.storages() == [first]


def test_a_store_reads_its_secrets_from_files_beside_the_configuration(
    configure: Configure,
) -> None:
    with pytest.raises(ConfigurationError, match=r"s3_secret_key_file: .*no such file"):
        configure(f"{FIRST}{VAULT}      s3_secret_key_file: vault.key\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (FIRST, ":10: copy_to: there is no store 'vault'; name it under stores:"),
        (
            FIRST.replace("copy_to: vault", "copy_to: valt") + VAULT,
            ":10: copy_to: there is no store 'valt'; did you mean vault?",
        ),
        (VAULT + "      base_schedule: '@daily'\n", "base_schedule: a store has only s3_*,"),
        (VAULT + "      local_dir: /srv\n", "local_dir: a store has only s3_*,"),
        (VAULT + "      s3_buket: x\n", "there is no such option; did you mean s3_bucket?"),
        (VAULT.replace("s3_bucket", "s3_region"), ":3: store vault: it has no s3_bucket"),
        (VAULT.replace("vault:", "a/b:"), "'a/b' is not the name of a store"),
        (VAULT + VAULT, "'vault': the section stands at line 3 too"),
        ("- stores:\n    - vault\n", "'stores': write its options below it"),
    ],
)
def test_a_slip_is_told_with_its_line(configure: Configure, text: str, sentence: str) -> None:
    assert sentence in mistakes(configure, text)


def test_the_place_of_the_snapshots_themselves_is_no_store(configure: Configure) -> None:
    same = VAULT.replace("s3.example.org", "s3.example.com").replace("copies", "backups")
    with pytest.raises(ConfigurationError, match="it is the bucket and the prefix"):
        copies(configure(FIRST + same))
    copies(configure(FIRST + same + "      s3_prefix: copies-of-db1\n"))


def test_an_unknown_store_is_told_with_the_nearest_one(configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match="'valt'; did you mean vault"):
        copies(configure(FIRST + VAULT), "valt")
