"""The first configuration of a host means what its administrator answered, whatever that is."""

import re
import tempfile
from dataclasses import asdict
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from three_backup.config import Configuration, environment_file, load
from three_backup.config.first import first_configuration, first_environment
from three_backup.config.settings import Settings
from three_backup.model.objects import ObjectId

TABLE = ObjectId("postgres", "table", "shop", "public", "orders")
ANSWERS = {"s3_endpoint": "https://s3.example.com", "s3_bucket": "backups", "s3_prefix": "db1"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def read(text: str, variables: str = "") -> tuple[Configuration, dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "three_backup.yaml")
        for file, content in ((written, text), (written.with_name(".env"), variables)):
            file.touch(0o600)
            file.write_text(content, newline="")
        configuration = load(written, {})
        assert configuration.warnings == ()
        return configuration, environment_file(configuration, None, {})


@given(TEXTS, TEXTS)
@example("a b", "#'\" : - x: y")
@example("0123", "~")
@example("no", "*x &y !z %{}[],?|>@`")
@example("- a", "a\nb")
@example("...", "---")
@example("\ufeff", "\x85\u2028")
def test_a_key_is_read_as_it_was_given(access: str, secret: str) -> None:
    answers = {**ANSWERS, "s3_access_key": access, "s3_secret_key": secret}
    configuration, _ = read(first_configuration(answers))
    storage = configuration.settings(TABLE).storage
    assert (storage.access_key, storage.secret_key) == (access, secret)


@given(TEXTS)
@example("a b#c")
@example("\\'\"${HOME}")
@example("a\r\nb\\n")
@example(" x ")
def test_a_variable_is_read_as_it_was_given(value: str) -> None:
    text = first_environment({"PGPASSWORD": value, "CLICKHOUSE_USER": "backup"})
    _, variables = read(first_configuration(ANSWERS), text)
    assert variables == {"PGPASSWORD": value, "CLICKHOUSE_USER": "backup"}


def test_what_it_spells_out_are_the_defaults_so_that_nothing_has_to_be_learned_first() -> None:
    text = first_configuration(ANSWERS)
    settings = read(text)[0].settings(TABLE)
    assert asdict(settings) == asdict(Settings(settings.storage))
    assert len(re.findall("^    [a-z_0-9]+: ", text, re.MULTILINE)) == len(ANSWERS) + 6


def test_a_source_that_is_left_out_is_disabled() -> None:
    configuration, _ = read(first_configuration(ANSWERS, ["postgres", "incus"]))
    assert configuration.settings(TABLE).disable
    assert not configuration.settings(ObjectId("clickhouse", "table", "a", "b", "c")).disable


def test_an_example_in_it_loads_once_it_is_uncommented() -> None:
    text = first_configuration(ANSWERS)
    head, examples = text.split(
        "# What is to be different for some of it stands in sections below, such as:\n"
    )
    configuration, _ = read(f"{head}\n" + re.sub("^# ", "", examples, flags=re.MULTILINE))
    assert configuration.settings(ObjectId.parse("postgres/table/shop/public/carts9")).disable
    read(re.sub(r"^    # (?=[a-z_]+: )", "    ", text, flags=re.MULTILINE))
