"""What monitoring reads of a host: metrics, as Prometheus takes them."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.lab.prometheus import PrometheusServer, Promtool
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_copy import with_vault
from tests.watching.test_alarms import alarms
from tests.watching.test_dashboard import panels
from three_backup.catalog import sizes
from three_backup.catalog.catalog import Catalog
from three_backup.catalog.sizes import SizeMemory
from three_backup.model.dependencies import Place

_STATUS = "tb-status --prometheus {}"
_NAME = re.compile(r"\bthree_backup_\w+")


def samples(text: str) -> dict[str, float]:
    """Return each sample by its name and labels, without the prefix that all share."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    found = (line.removeprefix("three_backup_").rpartition(" ") for line in lines)
    return {name: float(value) for name, _, value in found}


def expressions() -> list[str]:
    """Return what the panels of the dashboard ask for, of all hosts and carriers."""
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return [re.sub(r"\$(?:instance|carrier)", ".*", each) for each in asked]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; yield the address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = {".prom": "text/plain; version=0.0.4"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def watched(host_of_module: Host) -> Iterator[Host]:
    """A host with WAL in S3, two snapshots, copies, a drill, and metrics of its last run."""
    host = host_of_module
    host.execute("create table customers (id int); insert into customers values (1)")
    host.s3.create_bucket("watched-vault")
    file = host.folder / "run.prom"
    with_vault(host, "watched-vault", copy_to="vault", wal="pull", prometheus_file=file)
    host.good("tb-run")
    host.execute("insert into customers values (2)")
    host.good("tb-run --incremental")
    host.good(f"tb-verify {host.table('customers')}")
    host.good(_STATUS.format("status.prom"))
    yield host
    host.s3.delete_bucket("watched-vault")
    host.rows(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
        "WHERE slot_name LIKE 'three_backup%'"
    )


@pytest.fixture
def figures(watched: Host) -> dict[str, float]:
    """The metrics of the status, without the label of the one carrier."""
    text = re.sub(r'carrier="[^"]*",?', "", (watched.folder / "status.prom").read_text())
    return samples(text.replace("{}", ""))


@pytest.mark.parametrize("file", ["run.prom", "status.prom"])
def test_prometheus_has_nothing_to_complain_about(
    watched: Host, promtool: Promtool, file: str
) -> None:
    text = (watched.folder / file).read_text()
    assert promtool.complaints("check", "metrics", stdin=text) == ""
    assert promtool.complaints("check", "metrics", stdin=text.replace("# HELP", "#", 1)) != ""


def test_metrics_tell_how_a_carrier_stands(watched: Host, figures: dict[str, float]) -> None:
    assert figures["state"] == 0
    assert figures['snapshots{place="s3"}'] == 2
    assert figures["drilled_objects"] == 1
    assert figures["failed_drills"] == 0
    assert figures["wal_max_age_seconds"] == 7200
    ended = figures["last_run_timestamp_seconds"]
    oldest, newest = (figures[f"{end}_snapshot_timestamp_seconds"] for end in ("oldest", "newest"))
    assert oldest < newest < ended
    assert figures["due_timestamp_seconds"] > ended
    assert figures['newest_copy_timestamp_seconds{store="vault"}'] == newest
    assert figures["newest_drill_timestamp_seconds"] >= ended
    since, until = (figures[f"any_second_{end}_timestamp_seconds"] for end in ("since", "until"))
    assert figures["any_second_seconds"] == pytest.approx(until - since, abs=0.01)
    assert until > newest


def test_the_bytes_are_those_that_lie_in_the_bucket_and_in_the_folder(
    watched: Host, figures: dict[str, float]
) -> None:
    keys = list(store(watched).keys("data/"))
    assert figures['stored_bytes{place="s3"}'] == sum(key.size for key in keys)
    files = (watched.local_dir / "postgres").rglob("*")
    data = [each for each in files if each.is_file() and each.name != "manifest.json"]
    assert figures['stored_bytes{place="local"}'] == sum(each.stat().st_size for each in data)
    pieces = [key.size for key in store(watched).keys("wal/") if key.key.endswith(".zst")]
    assert figures["wal_stored_bytes"] == sum(pieces) > 0


def test_metrics_tell_what_each_stage_took(figures: dict[str, float]) -> None:
    stages = {"snapshot", "upload", "rotate", "copy", "wal"}
    for stage in stages:
        assert 0 <= figures[f'last_run_stage_seconds{{stage="{stage}"}}'] < 300
    for stage in stages - {"rotate"}:
        assert figures[f'last_run_stage_bytes{{stage="{stage}"}}'] > 0


def test_the_dashboard_and_the_alarms_use_metrics_that_there_are(watched: Host) -> None:
    written = set(_NAME.findall((watched.folder / "status.prom").read_text()))
    shown = {name for each in expressions() for name in _NAME.findall(each)}
    alarming = {name for alarm in alarms() for name in _NAME.findall(alarm["expr"])}
    assert shown == written
    assert alarming <= written


def test_every_panel_of_the_dashboard_shows_something(
    watched: Host, promtool: Promtool, tmp_path: Path
) -> None:
    with served(watched.folder) as address:
        target = (address, "status.prom")
        with PrometheusServer(promtool.folder, tmp_path / "prometheus", *target) as server:
            found = {each: server.query(each) for each in expressions()}
    assert [each for each, series in found.items() if not series] == []
    (worst,) = found['max(three_backup_state{instance=~".*", carrier=~".*"})']
    assert worst["value"][1] == "0"


def test_what_a_run_writes_without_s3_is_what_it_knows(watched: Host) -> None:
    file, away = watched.folder / "away.prom", watched.folder / "away.yaml"
    text = watched.config.read_text().replace("run.prom", "away.prom")
    text = text.replace(watched.s3.endpoint, "http://127.0.0.1:9")
    away.write_text(f"{text}    s3_timeout: 0s\n")
    away.chmod(0o600)
    outcome = watched.sh(f"tb-run -q -c {away}")
    assert outcome.status == 69
    assert f"{file} does not show" in outcome.stderr
    found = samples(file.read_text())
    assert found["last_run_status"] == 69
    assert not any(name.startswith(("state", "stored_bytes")) for name in found)


def test_the_bytes_of_very_many_snapshots_are_learnt_step_by_step(
    watched: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(store(watched).storage)
    (carrier,) = catalog.carriers("postgres")
    snapshots = catalog.snapshots(carrier)
    (memory,) = watched.local_dir.glob("cache/*/sizes.json")

    def look(most: int) -> Mapping[Place, int] | None:
        monkeypatch.setattr(sizes, "_MANIFESTS", most)
        looking = SizeMemory(catalog)
        found = looking.stored(carrier, snapshots)
        looking.remember()
        return found

    whole = look(0)
    assert whole is not None
    gone = {"lxd/container/a/b/gone": {"20261101T000000Z-base": [1, 1]}}
    memory.write_text(json.dumps({"v": 1, "carriers": gone}))
    assert [look(0), look(1), look(1), look(0)] == [None, None, whole, whole]
    assert list(json.loads(memory.read_text())["carriers"]) == [carrier]
    memory.write_text("{")
    assert look(0) is None
    assert SizeMemory(catalog).stored(carrier, snapshots[:1]) != whole
