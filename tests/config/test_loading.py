"""How a configuration is found, what its text may say, and how its mistakes are reported."""

from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from three_backup.config import load
from three_backup.config.loading import host_storage
from three_backup.errors import ConfigurationError, Exit
from three_backup.host.locks import IfRunning
from three_backup.model.objects import ObjectId
from three_backup.model.schedule import Cron
from three_backup.model.stages import TARGETS, Stage

from .conftest import Configure

SPECIFIED = """
    - clickhouse/*:
        base_schedule: 13 16 1 * *
        incremental_schedule: 13 16 * * *
    - clickhouse/table/tmp*:
        disable: true
    - postgres/table/local*:
        max_stage: snapshot_incremental
    - "*":
        s3_endpoint: selectel.ru
        s3_secret_key: 123
        max_base_snapshots_local: 1
        ...
    """


def test_the_example_of_the_specification_loads_as_it_stands(configure: Configure) -> None:
    configuration = configure(SPECIFIED)
    assert configuration.warnings == ()
    events = configuration.settings(ObjectId("clickhouse", "table", "default", "web", "events"))
    assert events.base_schedule == Cron("13 16 1 * *")
    assert events.storage.endpoint == "https://selectel.ru"
    assert events.storage.secret_key == "123"
    assert events.storage.bucket is None
    assert configuration.settings(ObjectId("clickhouse", "table", "tmp", "web", "x")).disable
    local = configuration.settings(ObjectId("postgres", "table", "local", "public", "users"))
    assert local.max_stage is Stage.SNAPSHOT_INCREMENTAL
    assert local.max_base_snapshots_local == 1


def test_an_empty_file_is_the_defaults(configure: Configure) -> None:
    settings = configure("").settings(ObjectId("lxd", "container", "a", "b", "c"))
    assert settings.base_schedule == Cron("0 3 1 * *")
    assert settings.incremental_schedule == Cron("0 3 * * *")
    assert (settings.limits.bases_local, settings.limits.incrementals_local) == (1, 3)
    assert (settings.limits.bases_s3, settings.limits.incrementals_s3) == (3, 40)
    assert settings.max_stage is Stage.ROTATED_S3
    assert not settings.disable
    assert settings.storage.addressing_style == "path"


def test_a_whole_file_may_be_one_mapping(configure: Configure) -> None:
    configuration = configure('"*":\n  s3_bucket: backups\nlxd:\n  disable: yes\n')
    web = configuration.settings(ObjectId("lxd", "container", "a", "b", "web"))
    assert web.disable
    assert web.storage.bucket == "backups"


def test_values_are_read_as_the_text_they_are(configure: Configure) -> None:
    storage = (
        configure(
            """
        - "*":
            s3_access_key: 0123
            s3_secret_key: 1_000e3
            s3_bucket: 007
            s3_region: no
        """
        )
        .settings(ObjectId("lxd", "container", "a", "b", "c"))
        .storage
    )
    assert (storage.access_key, storage.secret_key) == ("0123", "1_000e3")
    assert (storage.bucket, storage.region) == ("007", "no")


def test_every_option_reaches_what_it_is_for(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "secret").chmod(0o600)
    configuration = configure(
        """
        - "*":
            base_schedule: "@monthly"
            incremental_schedule: "*/15 * * * *"
            max_base_snapshots_local: 2
            max_incremental_snapshots_local: 0
            max_base_snapshots_s3: 5
            max_incremental_snapshots_s3: 60
            max_stage: synced_s3
            disable: no
            local_dir: /srv/backups
            s3_endpoint: http://127.0.0.1:8333/
            s3_bucket: backups
            s3_prefix: /office/db1/
            s3_region: ru-1
            s3_client_id: me
            s3_client_secret_file: secret
            s3_addressing_style: virtual
            s3_storage_class: COLD
            compression_level: 19
            pg_bindir: /opt/pg/bin
            scratch_user: scratch
            scratch_dir: ~/scratch
            if_running: kill
            kill_after: 90m
        """
    )
    settings = configuration.source_settings("postgres")
    storage = settings.storage
    assert settings.base_schedule == Cron("@monthly")
    assert settings.incremental_schedule == Cron("*/15 * * * *")
    assert (settings.limits.bases_local, settings.limits.incrementals_local) == (2, 0)
    assert (settings.limits.bases_s3, settings.limits.incrementals_s3) == (5, 60)
    assert settings.max_stage is Stage.SYNCED_S3
    assert storage.local_dir == Path("/srv/backups")
    assert (storage.endpoint, storage.bucket) == ("http://127.0.0.1:8333", "backups")
    assert (storage.prefix, storage.region) == ("office/db1", "ru-1")
    assert (storage.access_key, storage.secret_key) == ("me", "from a file")
    assert (storage.addressing_style, storage.storage_class) == ("virtual", "COLD")
    assert settings.compression_level == 19
    assert settings.pg_bindir == Path("/opt/pg/bin")
    assert settings.scratch_user == "scratch"
    assert settings.scratch_dir == Path.home() / "scratch"
    assert configuration.run.local_dir == Path("/srv/backups")
    assert configuration.run.if_running is IfRunning.KILL
    assert configuration.run.kill_after == timedelta(minutes=90)


def test_the_environment_names_the_file_before_the_home_folder(tmp_path: Path) -> None:
    named, home = tmp_path / "named.yaml", tmp_path / ".config" / "three_backup.yaml"
    home.parent.mkdir()
    home.write_text("")
    named.write_text("")
    both = {"THREE_BACKUP_CONFIG": str(named), "HOME": str(tmp_path)}
    assert load(None, both).path == named
    assert load(None, {"HOME": str(tmp_path)}).path == home
    assert load(home, both).path == home


def test_where_snapshots_lie_by_default() -> None:
    assert host_storage({}, 0, "db1").local_dir == Path("/var/lib/three_backup")
    ordinary = host_storage({"HOME": "/home/me"}, 1000, "db1")
    assert ordinary.local_dir == Path("/home/me/.local/state/three_backup")
    chosen = host_storage(
        {"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, 1000, "db1.example.org"
    )
    assert (chosen.local_dir, chosen.prefix) == (Path("/state/three_backup"), "db1.example.org")


def test_a_file_that_is_named_but_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: no such file") as caught:
        load(tmp_path / "none.yaml", {})
    assert caught.value.status is Exit.CONFIGURATION


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"- '*':\n    s3_region: \xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin\.yaml: byte 22 is not UTF-8"):
        load(tmp_path / "latin.yaml", {})


def test_all_mistakes_are_told_together_by_line(configure: Configure) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(
            """\
            - lxd/volum:
                base_schedul: 0 3 * * *
            - "*":
                max_stage: done
            """
        )
    told = [line.partition("three_backup.yaml:")[2] for line in str(caught.value).splitlines()]
    assert told == [
        "1: 'lxd/volum' can match nothing: lxd has container, vm, volume; did you mean volume?",
        "2: base_schedul: there is no such option; did you mean base_schedule?",
        f"4: max_stage: 'done' is not known; write one of {', '.join(TARGETS)}",
    ]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("base_schedule: 0 3 * *", "it has 4 fields, not 5; write minute, hour"),
        ("base_schedule: 0 25 * * *", "'0 25 * * *' is not a schedule"),
        ("max_stage: partially_synced", "a state that an upload passes through, never a target"),
        ("max_base_snapshots_s3: -1", "'-1' is not a number; write 0, 1, 2"),
        ("max_base_snapshots_s3: ٣", "is not a number"),
        ("disable: maybe", "'maybe' is neither true nor false"),
        (
            "bandwidth_limit: 8 Mbit/s",
            "'8 Mbit/s' is not a limit; write 8 MB/s, or 8 MB/s from 8 to 20 (bytes, not bits)",
        ),
        ("kill_after: 24", "'24' is not a duration; write 45s, 90m, 24h or 2d"),
        ("server_timeout: 0m", "'0m' would give up at once; write 45s, 90m, 24h or 2d"),
        ("hook_timeout: 00s", "'00s' would give up at once"),
        ("if_running: stop", "'stop' is not known; write one of skip, wait, kill"),
        ("compression_level: 23", "is not a level of zstd; write 1 (fast) to 22 (small)"),
        ("local_dir: backups", "'backups' is a relative path; write it in full"),
        ("s3_endpoint: ftp://host", "is not the address of a server; write https://host[:port]"),
        ("s3_endpoint: https://host/?tab=keys", "is not the address of a server"),
        ("s3_endpoint: https://host/#/buckets", "is not the address of a server"),
        ("s3_endpoint: host:port", "Port could not be cast"),
        ("s3_endpoint: https://me:hush@host", "it holds a password; write s3_access_key"),
        ("s3_bucket: backups/db1", "is not the name of a bucket; folders belong into s3_prefix"),
        ("s3_prefix: ключ", "has characters that some stores refuse"),
        ("s3_prefix: a//b", "has characters that some stores refuse"),
        ("s3_prefix: a/../b", "'a/../b' has a folder named . or .., which some stores refuse"),
        ("s3_prefix: ..", "'..' has a folder named . or .."),
        ("s3_prefix: /./", "'/./' has a folder named . or .."),
        ("s3_addressing_style: url", "write one of path, virtual, auto"),
        ("s3_secret_key_file: /none/key", "s3_secret_key_file: /none/key: no such file"),
        ("s3_region:", "s3_region: it has no value; give one or remove the line"),
        ("s3_region: [a]", "s3_region: the value is not a text; write it in quotes"),
        ("[a]: b", "the name of an option is not a text"),
        ("colour: red", "colour: there is no such option"),
        ("s3_secrt_key: x", "did you mean s3_secret_key?"),
        ("base_schedule: */5 * * * *", 'quote what begins with *: "*" or "*/15 * * * *"'),
        ("base_schedule: @daily", "put the text between two quotes"),
        ('s3_region: "ru-1', "2: while scanning a quoted scalar"),
        ("\tdisable: true", "indent with spaces, not with tabs"),
        ("disable true", "write its options below it as name: value"),
    ],
)
def test_a_mistake_in_an_option_is_told_with_its_line_and_remedy(
    configure: Configure, option: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(f'- "*":\n    {option}\n')
    assert sentence in caught.value.message
    assert "three_backup.yaml:2: " in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("- *:\n    disable: true", 1, 'quote what begins with *: "*"'),
        ("- *tmp*:\n    disable: true", 1, 'quote what begins with *: "*"'),
        ("- *tmp:\n    disable: true", 1, 'quote what begins with *: "*"'),
        ("- */table/*:\n    disable: true", 1, 'quote what begins with *: "*"'),
        ("- lxd:\n  disable: true", 2, "disable: it stands outside any section; indent it more"),
        ("- lxd", 1, "this is not a section"),
        ("lxd", 1, "this is not a section"),
        ("- lxd:\n    - disable", 2, "'lxd': write its options below it"),
        ("- [lxd]: {disable: true}", 1, "the pattern is not a text; write it in quotes"),
        ("- lxd:\n---\n- postgres:", 2, "another document"),
        ("- lxd:\n    disable: true\n   x: y", 3, "while parsing a block mapping"),
        ("\x00", 1, "it holds characters that no text has"),
        ('- "":', 1, "'' can match nothing: write \"*\" for everything"),
        (
            "- postgress/*:",
            1,
            "there are lxd, incus, postgres, clickhouse; did you mean postgres?",
        ),
        ("- lxd/table/*:", 1, "lxd has container, vm, volume"),
        ("- postgres/table/a/b/c/d:", 1, "an id has 5 levels; write %2F for a slash inside"),
        ("- lxd:\n- lxd:", 2, "'lxd': the section stands at line 1 too; join them"),
        ("- lxd:\n    if_running: wait", 2, 'it holds for a whole run; write it under "*"'),
        (
            "- lxd:\n    pg_bindir: /a\n- postgres/table:\n    pg_bindir: /a",
            4,
            "under postgres or",
        ),
        ("- lxd:\n    disable: yes\n    disable: no", 3, "disable is given at line 2 too"),
        (
            "- lxd:\n    s3_client_secret: hush\n    s3_secret_key: hush",
            3,
            "s3_secret_key is given at line 2 too; keep one of them",
        ),
    ],
)
def test_a_mistake_in_a_section_is_told_with_its_line_and_remedy(
    configure: Configure, text: str, line: int, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(text)
    assert f"three_backup.yaml:{line}: " in caught.value.message
    assert sentence in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    "pattern",
    ["postgres", "postgre*", "postgres/table", "postgres/table/", "*", "*/table/*", "p*s/view/x*",
     "lxd/container/a/b/c", "[pl]*", "clickhouse/*/tmp", "*users"],
)  # fmt: skip
def test_patterns_that_can_match_something_are_taken(configure: Configure, pattern: str) -> None:
    assert configure(f'- "{pattern}":\n').rules[0].pattern == pattern


def test_secrets_that_everybody_may_read_are_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "three_backup.yaml"
    for name, text in {
        "three_backup.yaml": "- '*':\n    s3_access_key: me\n    s3_secret_key_file: key\n",
        "key": "hush",
        ".env": "PGPASSWORD=hush",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    warnings = load(path, {}).warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        str(tmp_path / ".env"), str(path), str(tmp_path / "key"),
    ]  # fmt: skip
    assert all(f"chmod 600 {warning.partition(':')[0]}" in warning for warning in warnings)
    for file in tmp_path.iterdir():
        file.chmod(0o640)
    assert load(path, {}).warnings == ()


def test_a_file_without_secrets_may_be_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "three_backup.yaml"
    path.write_text('- "*":\n    s3_bucket: backups\n')
    path.chmod(0o644)
    assert load(path, {}).warnings == ()


def test_a_broader_section_below_that_undoes_a_narrower_one_is_warned_about(
    configure: Configure,
) -> None:
    configuration = configure(
        dedent(
            """\
            - postgres/table/tmp*:
                disable: true
                max_stage: exists
            - lxd:
                disable: true
            - lxd/container/*:
                disable: false
            - "*":
                disable: false
                max_stage: exists
            """
        )
    )
    told = [warning.partition("three_backup.yaml:")[2] for warning in configuration.warnings]
    remedy = "since the lower section wins; write the narrower below"
    assert told == [
        f"9: disable: '*' overrides 'lxd' of line 4, {remedy}",
        f"9: disable: '*' overrides 'postgres/table/tmp*' of line 1, {remedy}",
    ]


def test_no_bases_in_s3_is_told_to_keep_one_all_the_same(configure: Configure) -> None:
    none = """
        - "*":
            max_base_snapshots_s3: 0
            max_base_snapshots_local: 0
            max_incremental_snapshots_s3: 0
        - lxd:
            max_base_snapshots_s3: 0
            max_stage: snapshot_incremental
        """
    (warning,) = configure(none).warnings
    assert ":3: max_base_snapshots_s3: 0 acts as 1, since the newest snapshot always" in warning
    by_time = f"{none}- postgres:\n            keep_weekly: 8\n"
    assert configure(by_time).warnings == ()
