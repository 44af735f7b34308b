"""The settings of an object and their origin: tb-plan --explain, the example and the schema."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.config.conftest import Configure
from three_backup.config import explain
from three_backup.config.explanation import HIDDEN, default, written
from three_backup.config.options import OPTIONS, words
from three_backup.model.objects import ObjectId
from three_backup.model.stages import TARGETS
from three_backup.model.storage import Storage

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "three_backup" / "config" / "three_backup.yaml").read_text()
PAGE = (ROOT / "man" / "three_backup.yaml.5").read_text()
SCHEMA: dict[str, Any] = json.loads(
    (ROOT / "three_backup" / "config" / "configuration.schema.json").read_text()
)
VALIDATOR = Draft202012Validator(SCHEMA)
ORDERS = ObjectId("postgres", "table", "shop", "public", "orders")
NO_HOST = Storage(Path("/nowhere"))
_DEFAULT = re.compile(r"^    # ([a-z0-9_]+): (.+)$", re.MULTILINE)
_OPTION = re.compile(r"^    (?:# |## )?([a-z0-9_]+): ", re.MULTILINE)


def documents() -> list[str]:
    return [EXAMPLE, *re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed", PAGE, re.MULTILINE)]


def test_every_option_is_told_with_the_section_that_gives_it(configure: Configure) -> None:
    configuration = configure(
        """\
        - "*":
            s3_secret_key: hush
            max_base_snapshots_s3: 5
            kill_after: 2d
        - postgres/table/shop*:
            max_base_snapshots_s3: 7
        - clickhouse:
            disable: true
        """
    )
    told = {setting.option: setting for setting in explain(configuration, ORDERS)}
    assert list(told) == list(OPTIONS)
    bases = told["max_base_snapshots_s3"]
    assert (bases.value, bases.line, bases.pattern) == ("7", 6, "postgres/table/shop*")
    assert (told["kill_after"].value, told["kill_after"].line) == ("48h", 4)
    assert (told["s3_secret_key"].value, told["s3_secret_key"].line) == (HIDDEN, 2)
    assert (told["disable"].value, told["disable"].line) == ("false", None)
    assert told["base_schedule"].value == "0 3 1 * *"


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_told_can_be_written(option: str) -> None:
    value = default(option, NO_HOST)
    if value is not None and option != "s3_prefix":
        assert OPTIONS[option].convert(written(value)) == value


def test_the_example_loads(configure: Configure) -> None:
    configuration = configure(EXAMPLE)
    assert configuration.warnings == ()
    assert configuration.settings(ORDERS).storage.bucket == "backups"


def test_what_is_commented_out_in_the_example_is_the_default() -> None:
    commented = dict(_DEFAULT.findall(EXAMPLE))
    assert commented == {name: written(default(name, NO_HOST)) for name in commented}
    expected = {name for name in OPTIONS if default(name, NO_HOST) not in (None, "")}
    assert set(commented) == expected - {"local_dir"}


def test_the_example_names_every_option_and_loads_with_all_of_them(
    configure: Configure, tmp_path: Path
) -> None:
    named = set(_OPTION.findall(EXAMPLE))
    assert set(OPTIONS) <= named | {name.removesuffix("_file") for name in named}
    keys = ("signing.key", "5a" * 32), ("encryption.key", "5a" * 32)
    for name, secret in (("three_backup.key", "hush"), *keys):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    with_all = re.sub(r"^    #{1,2} ([a-z0-9_]+: )", r"    \1", EXAMPLE, flags=re.MULTILINE)
    with_all = with_all.replace("    s3_secret_key: not-a-real-key\n", "")
    assert configure(with_all).run.hook_timeout.total_seconds() == 60


def test_the_schema_is_one_and_knows_every_word() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    section = SCHEMA["$defs"]["section"]["properties"]
    assert sorted(section) == sorted(words())
    assert section["max_stage"]["enum"] == list(TARGETS)


@pytest.mark.parametrize("text", documents())
def test_what_loads_is_valid(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text.replace("\n    ...\n", "\n")))


@pytest.mark.parametrize(
    "options",
    [
        {"s3_buket": "x"},
        {"max_stage": "partially_synced"},
        {"max_base_snapshots_s3": -1},
        {"disable": "perhaps"},
        {"kill_after": "soon"},
        {"bandwidth_limit": "8 Mbit/s"},
        {"server_timeout": "0m"},
        {"hook_timeout": "1"},
        {"local_dir": "relative"},
        {"compression_level": 23},
        {"size_alarm": 1},
        {"s3_bucket": ["x"]},
    ],
    ids=str,
)
def test_a_slip_is_not_valid(options: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid([{"*": options}])


def test_a_file_that_is_empty_is_valid() -> None:
    VALIDATOR.validate(None)
    VALIDATOR.validate([{"*": None}])
