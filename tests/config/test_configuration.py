"""The settings of an object are merged from all sections that match it; the lower one wins."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from three_backup.config.configuration import Configuration
from three_backup.config.rules import Given, Rule
from three_backup.errors import ConfigurationError
from three_backup.model.encryption import Demand
from three_backup.model.objects import Carrier, ObjectId, matches
from three_backup.model.storage import Storage

from .conftest import Configure

HERE = Storage(Path("/var/lib/three_backup"), prefix="db1")
USERS = ObjectId("postgres", "table", "prod", "public", "users")
LOGS = ObjectId("postgres", "table", "logs", "public", "events")
WEB = ObjectId("lxd", "container", "default", "default", "web")


def test_the_lower_section_wins_option_by_option(configure: Configure) -> None:
    configuration = configure(
        """
        - postgres:
            max_base_snapshots_s3: 5
            max_stage: synced_s3
        - postgres/table/prod*:
            max_base_snapshots_s3: 9
        - "*":
            max_stage: rotated_locally
        """
    )
    users, web = configuration.settings(USERS), configuration.settings(WEB)
    assert (users.max_base_snapshots_s3, users.max_stage) == (9, "rotated_locally")
    assert (web.max_base_snapshots_s3, web.max_stage) == (3, "rotated_locally")
    assert configuration.settings(LOGS).max_base_snapshots_s3 == 5


def test_what_may_hold_for_objects_that_cannot_be_listed_is_asked_by_their_prefix(
    configure: Configure,
) -> None:
    configuration = configure(
        """
        - "*":
            disable: true
        - postgres:
            disable: false
        - postgres/table/prod/public/secret:
            disable: true
        - postgres/table/logs*:
            max_stage: snapshot_base
        """
    )

    def below(prefix: str) -> set[tuple[bool, str]]:
        return {(each.disable, each.max_stage) for each in configuration.settings_below(prefix)}

    assert below("postgres/table/prod") == {(False, "rotated_s3"), (True, "rotated_s3")}
    assert below("postgres/table/logs") == {(False, "snapshot_base")}
    assert below("postgres/table/shop") == {(False, "rotated_s3")}


PATTERNS = (
    "*",
    "postgres",
    "postgres/*",
    "postgres/table/p*",
    "*/users",
    "lxd/container",
    "*web*",
)
OPTIONS = ("max_base_snapshots_s3", "max_base_snapshots_local", "compression_level")


@given(
    st.lists(st.sampled_from(PATTERNS), unique=True),
    st.data(),
    st.sampled_from([USERS, LOGS, WEB]),
)
def test_each_option_is_that_of_the_last_section_that_matches_and_has_it(
    patterns: list[str], data: st.DataObject, object_id: ObjectId
) -> None:
    rules = []
    expected = {"max_base_snapshots_s3": 3, "max_base_snapshots_local": 1, "compression_level": 1}
    for line, pattern in enumerate(patterns, 1):
        options = data.draw(st.dictionaries(st.sampled_from(OPTIONS), st.integers(1, 9)))
        rules.append(
            Rule(
                pattern,
                line,
                {name: Given(value, line, pattern) for name, value in options.items()},
            )
        )
        expected |= options if matches(pattern, str(object_id)) else {}
    settings = Configuration(None, tuple(rules), HERE).settings(object_id)
    assert {
        "max_base_snapshots_s3": settings.max_base_snapshots_s3,
        "max_base_snapshots_local": settings.max_base_snapshots_local,
        "compression_level": settings.compression_level,
    } == expected


def test_objects_that_match_the_same_sections_share_their_settings(configure: Configure) -> None:
    configuration = configure("- postgres/table/p*:\n    disable: true\n")
    tables = [ObjectId("postgres", "table", "prod", "public", str(n)) for n in range(1000)]
    assert len({id(configuration.settings(table)) for table in tables}) == 1
    assert configuration.settings(tables[0]) != configuration.settings(LOGS)


def test_a_source_has_the_settings_of_no_single_object(configure: Configure) -> None:
    configuration = configure(
        """
        - postgres:
            pg_bindir: /a
        - postgres/*:
            scratch_user: me
        - postgres/table/*:
            max_base_snapshots_s3: 9
        - "*":
            compression_level: 7
        """
    )
    settings = configuration.source_settings("postgres")
    assert (settings.pg_bindir, settings.scratch_user) == (Path("/a"), "me")
    assert (settings.compression_level, settings.max_base_snapshots_s3) == (7, 3)
    assert configuration.source_settings("lxd").pg_bindir is None


def test_the_storage_of_a_run_is_that_of_everything(configure: Configure) -> None:
    configuration = configure(
        """
        - lxd:
            local_dir: /lxd
        - "*":
            local_dir: /all
        """
    )
    assert configuration.run.local_dir == Path("/all")


def test_patterns_that_matched_nothing_are_named(configure: Configure) -> None:
    configuration = configure(
        """
        - postgres/table/prod*:
        - postgres/table/pord*:
        - lxd/container/*:
        - "*/users":
        - "*/orders":
        - "*":
        """
    )
    assert configuration.unmatched([USERS, LOGS], ["postgres"]) == [
        "postgres/table/pord*",
        "*/orders",
    ]
    assert "lxd/container/*" in configuration.unmatched([USERS], ["postgres", "lxd"])
    assert configuration.unmatched([], []) == []


def test_every_storage_that_objects_may_have_is_listed_once(configure: Configure) -> None:
    configuration = configure(
        """
        - "*":
            s3_bucket: all
        - postgres:
            s3_bucket: databases
        - postgres/table/prod*:
            local_dir: /fast
        - lxd/*:
            disable: true
        """
    )
    storages = configuration.storages()
    assert [(storage.bucket, str(storage.local_dir)) for storage in storages] == [
        ("all", str(configuration.defaults.local_dir)),
        ("databases", str(configuration.defaults.local_dir)),
        ("databases", "/fast"),
    ]
    assert configuration.settings(USERS).storage in storages
    assert configuration.settings(WEB).storage in storages


def test_objects_of_one_carrier_must_agree_where_they_lie(configure: Configure) -> None:
    configuration = configure(
        """\
        - postgres/table/logs*:
            s3_bucket: logs
        - postgres/table/prod*:
            s3_secret_key: hush
            max_base_snapshots_s3: 9
        - "*":
            s3_region: ru-1
        """
    )
    configuration.require_agreement(Carrier("postgres/cluster/7"), [USERS, USERS])
    configuration.require_agreement(Carrier("postgres/cluster/7"), [])
    with pytest.raises(ConfigurationError) as caught:
        configuration.require_agreement(Carrier("postgres/cluster/7"), [LOGS, USERS])
    assert caught.value.message.startswith(
        "postgres/cluster/7: its objects lie in one snapshot, but s3_bucket differs: "
    )
    assert "three_backup.yaml:2 ('postgres/table/logs*') and the default" in caught.value.message
    assert caught.value.hint == 'give s3_bucket under "*" or under the source only'


def test_a_secret_that_differs_is_named_and_not_shown(configure: Configure) -> None:
    configuration = configure(
        """\
        - postgres/table/logs*:
            s3_secret_key: hush
        - postgres/table/prod*:
            s3_secret_key: hush-hush
        """
    )
    with pytest.raises(ConfigurationError, match="s3_secret_key differs") as caught:
        configuration.require_agreement(Carrier("postgres/cluster/7"), [LOGS, USERS])
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(configuration.settings(USERS))


def test_of_what_is_read_together_the_strictest_demand_holds(configure: Configure) -> None:
    """Restores search each bucket once, though its objects may differ in what they demand."""
    key = "5a" * 32
    configuration = configure(
        f'- "*":\n    s3_bucket: b\n    encryption_key: {key}\n    encryption: required\n'
        "- lxd:\n    encryption: optional\n- postgres:\n    s3_bucket: c\n"
    )
    found = {storage.bucket: storage.encryption for storage in configuration.storages()}
    assert found == {"b": Demand.REQUIRED, "c": Demand.REQUIRED}
    assert len(configuration.storages()) == 2


def test_what_must_be_encrypted_needs_a_key(configure: Configure) -> None:
    key = "5a" * 32
    with pytest.raises(
        ConfigurationError, match="encryption: it is required, but there is no key"
    ):
        configure(f"- lxd:\n    encryption: required\n- postgres:\n    encryption_key: {key}\n")
    configure(f'- lxd:\n    encryption: required\n- "*":\n    encryption_key: {key}\n')
