"""Faults in requests to S3 and kills at any instant, with a container: the next run ends well, and
all listed snapshots can be restored. `--seeds N` tries more of both."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.lab import faults
from tests.lab.fault_proxy import proxy
from tests.lab.faults import PASSING, Fault, certain
from tests.lab.lab import Lab
from tests.lab.sample import Sample
from tests.lxd import inside
from tests.pipeline.conftest import Host, store
from tests.pipeline.test_failures import members, started, until

WEB = "lxd/container/default/default/swept"
DATASET = "tank/lxd/containers/swept"
REQUESTS = 40
_FORCED = f"tb-discover -s {WEB} | tb-snapshot {{}} | tb-upload | tb-rotate"
_RUNS = (f"tb-run -s {WEB}", _FORCED.format("--incremental"), _FORCED.format("--base"))
_SEEDS_HERE = 10
"""One seed in so many is tried, since containers live in an emulated machine, which is slow."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    faults.parametrize(metafunc)
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", Sample.of(metafunc.config).instants("lxd")[::_SEEDS_HERE])


@pytest.fixture(scope="module")
def fault() -> Fault:
    return Fault()


@pytest.fixture(scope="module", autouse=True)
def swept(host: Host, lab: Lab, fault: Fault) -> Iterator[None]:
    """A container, and a proxy to S3 that can inject faults."""
    lab.sh("lxc init tiny swept")
    with proxy(host.s3.endpoint, fault) as endpoint:
        host.environ["ENDPOINT"] = endpoint
        yield


@pytest.mark.faults(("lost", "denied", *PASSING), REQUESTS)
def test_every_request_may_fail(
    host: Host, lab: Lab, fault: Fault, kind: str, number: int
) -> None:
    configure(host, s3_timeout="5m" if kind in PASSING else "0s")
    inside.change(lab, DATASET, f"echo {kind}{number} >> rootfs/word")
    fault.arm(kind, number)
    first = host.sh(_FORCED.format(random.Random(kind).choice(("--base", "--incremental"))))
    assert fault.injected or number > certain(REQUESTS)
    assert "Traceback" not in first.stderr
    assert kind not in PASSING or first.status == 0, first.stderr
    fault.arm("", 0)
    host.good(_FORCED.format("--incremental"))
    assert fault.seen <= REQUESTS
    nothing_is_left_behind(host, lab)
    host.good(f"tb-verify --read-only {WEB}")


def test_a_run_that_is_killed_at_any_instant_is_healed_by_the_next_one(
    host: Host, lab: Lab, fault: Fault, seed: int, pytestconfig: pytest.Config
) -> None:
    chance = random.Random(seed)
    configure(host)
    fault.arm("", 0)
    for attempt in range(2 if Sample.of(pytestconfig).everything else 1):
        inside.change(lab, DATASET, f"head -c 3000000 /dev/urandom > rootfs/noise{attempt}")
        kill_in_the_middle(host, lab, chance)
    then = inside.tree(lab, DATASET)
    host.good(_FORCED.format("--incremental"))
    host.good(f"tb-run -s {WEB}")
    nothing_is_left_behind(host, lab)
    host.wipe()
    (listed,) = host.good(f"tb-list --stored --json -s {WEB}").records
    for snapshot in listed["snapshots"]:
        lab.sh("lxc delete back 2> /dev/null || true")
        host.good(f"tb-restore --snapshot {snapshot['id']} --level3 back {WEB}")
    assert inside.tree(lab, "tank/lxd/containers/back") == then


def kill_in_the_middle(host: Host, lab: Lab, chance: random.Random) -> None:
    line = f"{{ {chance.choice(_RUNS)}; }} > /dev/null 2>&1"
    with started(host, "/bin/sh", "-c", lab.words.own(line)) as run:
        time.sleep(chance.uniform(0.2, 12))  # tries this instant; waits for nothing
        with suppress(ProcessLookupError):
            os.killpg(run.pid, chance.choice((signal.SIGKILL, signal.SIGTERM)))
    until(lambda: members(run.pid) == [], seconds=300)


def configure(host: Host, s3_timeout: str = "5m") -> None:
    host.configure(
        s3_endpoint=host.environ["ENDPOINT"],
        s3_timeout=s3_timeout,
        max_base_snapshots_s3=1,
        max_incremental_snapshots_s3=1,
        max_incremental_snapshots_local=0,
    )


def nothing_is_left_behind(host: Host, lab: Lab) -> None:
    """Check that each point has a local snapshot, all data a manifest, and no upload is open."""
    assert not list(host.local_dir.rglob(".unfinished-*"))
    assert not [path for path in (host.local_dir / "journal").rglob("*") if path.is_file()]
    (listed,) = host.good(f"tb-list --stored --json -s {WEB}").records
    local = {
        f"snapshot-tb-{snapshot['id']}"
        for snapshot in listed["snapshots"]
        if "local" in snapshot["place"]
    }
    assert set(inside.points(lab, DATASET)) == local
    keys = [found.key.split("/") for found in store(host).all_keys("")]
    manifests = {key[-1].removesuffix(".json") for key in keys if key[0] == "manifests"}
    assert {key[-2] for key in keys if key[0] == "data"} == manifests
    assert "Uploads" not in store(host).client.list_multipart_uploads(Bucket=host.bucket)
    assert "tb-restore" not in lab.sh("lxc list --format csv -c n")
