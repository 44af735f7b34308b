"""Metrics, made of the last run and of what a look at the catalog tells."""

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.watching.page.scene import CLUSTER, NOW, STANDING
from tests.watching.test_last_run import CARRIER, REFUSED, USERS, VISITS, after, at
from three_backup.watching import measured, metrics
from three_backup.watching.stage_costs import Cost


def values(text: str) -> dict[str, float]:
    """Return each sample by its name and labels."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_are_text_that_the_collector_may_read(tmp_path: Path) -> None:
    path = tmp_path / "three_backup.prom"
    odd = VISITS.with_fields(id='clickhouse/table/default/shop/"v\\i"')
    run = after(USERS, odd.with_error("tb-snapshot", REFUSED))
    metrics.write(path, measured.of_run(run), run)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    lines = path.read_text().splitlines()
    labels = f'{{carrier="{CARRIER}"}}'
    stamp = int(at(22).timestamp())
    assert f"three_backup_newest_snapshot_timestamp_seconds{labels} {stamp}" in lines
    assert f"three_backup_failing{labels} 0" in lines
    escaped = r'{carrier="clickhouse/table/default/shop/\"v\\i\""}'
    assert f"three_backup_failing{escaped} 1" in lines
    assert "three_backup_last_run_duration_seconds 60" in lines
    names = {line.partition("{")[0].partition(" ")[0] for line in lines if line[0] != "#"}
    assert all(f"# TYPE {name} gauge" in lines for name in names)


def test_a_run_alone_tells_nothing_that_only_a_look_at_s3_can_tell() -> None:
    run = after(USERS)
    found = metrics.text(measured.of_run(run), run)
    assert not any(word in found for word in ("_state", "_due", "wal", "drill", "_bytes"))


def test_every_carrier_has_one_series_of_a_metric_however_many_objects_it_has() -> None:
    found = values(metrics.text(measured.of_look(STANDING.watched, STANDING.last), None))
    states = {name: value for name, value in found.items() if "_state{" in name}
    assert len(states) == len(STANDING.watched)
    assert set(states.values()) == {0, 1, 2}
    objects = [value for name, value in found.items() if name.startswith("three_backup_objects{")]
    assert sum(objects) > len(objects)


def test_metrics_tell_what_of_a_cluster_can_be_restored_and_was_proved() -> None:
    (cluster,) = (each for each in STANDING.watched if each.carrier == CLUSTER)
    found = values(metrics.text(measured.of_look([cluster], None), None))

    def told(name: str) -> float:
        return found[f'three_backup_{name}{{carrier="{CLUSTER}"}}']

    assert cluster.log is not None
    first, last = cluster.log.windows
    assert told("newest_wal_timestamp_seconds") == (NOW - timedelta(minutes=4)).timestamp()
    assert told("any_second_since_timestamp_seconds") == last.since.timestamp()
    assert told("any_second_until_timestamp_seconds") == last.until.timestamp()
    both = (first.until - first.since) + (last.until - last.since)
    assert told("any_second_seconds") == both.total_seconds()
    assert told("wal_gaps") == 1
    assert told("wal_stored_bytes") == 31e9
    assert told("drilled_objects") == 3
    assert told("newest_drill_timestamp_seconds") == (NOW - timedelta(days=3)).timestamp()
    assert told("oldest_snapshot_timestamp_seconds") == first.since.timestamp()


def test_metrics_tell_what_the_stages_of_the_run_cost() -> None:
    run, costs = after(USERS), {"rotate": Cost(2), "wal": Cost(1.5, 7)}
    assert "stage" not in metrics.text([], run)
    found = values(metrics.text([], replace(run, stages=costs)))
    assert found['three_backup_last_run_stage_seconds{stage="rotate"}'] == 2
    assert found['three_backup_last_run_stage_seconds{stage="wal"}'] == 1.5
    assert found['three_backup_last_run_stage_bytes{stage="wal"}'] == 7
    assert 'three_backup_last_run_stage_bytes{stage="rotate"}' not in found
