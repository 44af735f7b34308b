"""The dashboard is one that Grafana reads, and its panels do not overlap."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = Path(__file__).parents[2] / "three_backup/share/three_backup.dashboard.json"


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def unknown(given: Any, read: Any, where: str = "") -> list[str]:
    """Return the fields that are not read, or read as something else."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [
            complaint
            for name in given
            for complaint in unknown(given[name], read.get(name), f"{where}.{name}")
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = enumerate(zip(given, read, strict=True))
        return [each for place, pair in pairs for each in unknown(*pair, f"{where}[{place}]")]
    return [] if given == read else [where]


def as_grafana_reads(given: dict[str, Any]) -> dict[str, Any]:
    register_default_plugins()
    found: dict[str, Any] = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    return found


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    given = dashboard()
    assert unknown(given, as_grafana_reads(given)) == []
    given["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    assert unknown(given, as_grafana_reads(given)) == [".panels[0].fieldConfig.defaults.units"]


def test_no_panel_covers_another_one() -> None:
    cells = {
        panel["title"]: {
            (column, line)
            for column in range(grid["x"], grid["x"] + grid["w"])
            for line in range(grid["y"], grid["y"] + grid["h"])
        }
        for panel in panels()
        for grid in (panel["gridPos"],)
    }
    assert len(cells) == len(panels())
    assert [pair for pair in combinations(cells, 2) if cells[pair[0]] & cells[pair[1]]] == []
    assert all(0 <= column < 24 for each in cells.values() for column, _ in each)
