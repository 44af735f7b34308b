"""Alarms for Prometheus fire when they should, and only then."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.prometheus import Promtool

SERIES = sorted(Path(__file__).with_name("alarms").iterdir())
RULES = Path(__file__).parents[2] / "three_backup/share/three_backup.rules.yaml"


def alarms() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_prometheus_reads_the_rules(promtool: Promtool) -> None:
    assert promtool.complaints("check", "rules", str(RULES)) == ""


@pytest.mark.parametrize("series", SERIES, ids=lambda path: path.stem)
def test_alarms_fire_when_they_should_and_only_then(promtool: Promtool, series: Path) -> None:
    assert promtool.complaints("test", "rules", str(series)) == ""


def test_an_alarm_that_never_fires_would_be_noticed(promtool: Promtool, tmp_path: Path) -> None:
    rules = RULES.read_text()
    for alarm in alarms():
        rules = rules.replace(f"expr: {alarm['expr']}\n", "expr: vector(1) > 2\n")
    (tmp_path / RULES.name).write_text(rules)
    complaints = ""
    for series in SERIES:
        beside = tmp_path / series.name
        beside.write_text(series.read_text().replace("../../../three_backup/share/", ""))
        complaints += promtool.complaints("test", "rules", str(beside))
    assert [alarm["alert"] for alarm in alarms() if alarm["alert"] not in complaints] == []


def test_of_every_alarm_it_is_shown_when_it_is_silent() -> None:
    blocks = [block for series in SERIES for block in yaml.safe_load(series.read_text())["tests"]]
    shown = [each for block in blocks for each in block["alert_rule_test"]]
    silent = {each["alertname"] for each in shown if not each.get("exp_alerts")}
    assert silent == {alarm["alert"] for alarm in alarms()}


def test_every_alarm_says_what_is_wrong_how_bad_it_is_and_what_to_do() -> None:
    for alarm in alarms():
        assert alarm["labels"]["severity"] in ("warning", "critical")
        assert set(alarm["annotations"]) == {"summary", "description"}
