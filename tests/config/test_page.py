"""three_backup.yaml(5) names every option and its default, and its examples load."""

import re
from pathlib import Path

import pytest

from three_backup.config.options import OPTIONS, Scope, words
from three_backup.config.settings import RunSettings, Settings
from three_backup.model.stages import TARGETS
from three_backup.model.storage import Storage

from .conftest import Configure

PAGE = (Path(__file__).parents[2] / "man" / "three_backup.yaml.5").read_text()
_HEAD = re.compile(r"^\.It Ic (.+)\n", re.MULTILINE)
_EXAMPLES = re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed", PAGE, re.MULTILINE)
_DEFAULT = re.compile(r"^Default:\n\.Ql ([^\n]+?)(?: [,;.]|\.)?$", re.MULTILINE)


def entries() -> dict[str, str]:
    """Return the text of the page for each option."""
    _, *parts = _HEAD.split(PAGE)
    heads, texts = parts[::2], parts[1::2]
    return {
        word: re.split(r"^\.(?:El|It)", text, flags=re.MULTILINE)[0]
        for head, text in zip(heads, texts, strict=True)
        for word in head.split(" , ")
    }


def test_the_page_names_exactly_the_options_there_are() -> None:
    assert sorted(entries()) == sorted(words())


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("base_schedule", Settings(Storage(Path("/"))).base_schedule.text),
        ("incremental_schedule", Settings(Storage(Path("/"))).incremental_schedule.text),
        ("max_base_snapshots_local", "1"),
        ("max_incremental_snapshots_local", "3"),
        ("max_base_snapshots_s3", "3"),
        ("max_incremental_snapshots_s3", "40"),
        ("keep_daily", str(Settings(Storage(Path("/"))).keep_daily)),
        ("keep_weekly", "0"),
        ("keep_monthly", "0"),
        ("keep_yearly", "0"),
        ("max_stage", Settings(Storage(Path("/"))).max_stage),
        ("disable", "false"),
        ("compression_level", str(Settings(Storage(Path("/"))).compression_level)),
        ("s3_addressing_style", Storage(Path("/")).addressing_style),
        ("if_running", RunSettings(Path("/")).if_running),
        ("kill_after", "24h"),
        ("hook_timeout", "1m"),
        ("clickhouse_system", "false"),
        ("clickhouse_on_cluster", "false"),
        ("clickhouse_apply_patches", "true"),
        ("server_timeout", "10m"),
        ("s3_timeout", "5m"),
        ("wal", "off"),
        ("wal_max_age", "2h"),
    ],
)
def test_the_page_names_the_default(option: str, default: str) -> None:
    assert _DEFAULT.findall(entries()[option])[-1] == default


def test_the_page_names_every_stage_that_can_be_a_target() -> None:
    assert set(TARGETS) <= set(re.findall(r"^\.Ql (\w+)", entries()["max_stage"], re.MULTILINE))


@pytest.mark.parametrize("option", OPTIONS)
def test_the_page_says_which_options_cannot_stand_everywhere(option: str) -> None:
    before = PAGE.partition(f"\n.It Ic {option}")[0]
    introduction = before.rpartition("\n.Ss ")[2].partition("\n.Bl ")[0]
    bounded = "\nonly.\n" in f"{introduction}\n{entries()[option]}"
    assert bounded == (OPTIONS[option].scope is not Scope.OBJECT)


@pytest.mark.parametrize("text", _EXAMPLES)
def test_the_examples_of_the_page_load(text: str, configure: Configure, tmp_path: Path) -> None:
    text = text.replace("/etc/three_backup.key", str(tmp_path / "key"))
    (tmp_path / "key").write_text("hush")
    (tmp_path / "key").chmod(0o600)
    configuration = configure(text)
    assert configuration.rules
    assert configuration.warnings == ()
