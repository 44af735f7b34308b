"""Restrictions and limits of projects are told beforehand, with commands that work."""

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

WEB = "lxd/container/default/locked/web"
VOLUME = "lxd/volume/default/locked/site"
OTHER = "lxd/container/default/default/other"
SNAPSHOTS = "lxc project set locked restricted.snapshots=allow"
LOW_LEVEL = "lxc project set locked restricted.containers.lowlevel=allow"


@pytest.fixture(scope="module", autouse=True)
def made(host: Host, lab: Lab) -> None:
    """A restricted project with a container and a volume, and a container that it would forbid."""
    lab.sh(
        """
        set -e
        lxc project create locked -c restricted=true -c features.images=false \\
            -c limits.containers=1 -c limits.memory=500MiB
        lxc profile device add default root disk path=/ pool=default --project locked
        lxc init tiny web --project locked -c limits.memory=300MiB
        lxc storage volume create default site --project locked
        lxc init tiny other -c security.nesting=true -c limits.memory=100MiB
        lxc config device add other listens proxy listen=tcp:127.0.0.1:7001 connect=tcp:127.0.0.1:1
        lxc config device add other usr disk source=/usr path=/other
        """
    )
    host.good(f"tb-discover -s {OTHER} | tb-snapshot --base | tb-upload")


def findings(host: Host) -> list[dict[str, str]]:
    lines = host.sh("tb-check --json -s lxd").records
    found = [line["finding"] for line in lines]
    return [finding for finding in found if finding["subject"] == "project locked"]


def test_a_check_tells_what_is_in_the_way_and_its_remedies_work(host: Host, lab: Lab) -> None:
    bad, restores = findings(host)
    assert (bad["mark"], bad["remedy"]) == ("bad", SNAPSHOTS)
    failed = host.sh(f"tb-discover -s {WEB} -s {VOLUME} | tb-snapshot --base")
    assert [record["error"]["hint"] for record in failed.records] == [
        f"allow them: {SNAPSHOTS}"
    ] * 2
    lab.sh(bad["remedy"])
    host.good(f"tb-discover -s {WEB} -s {VOLUME} | tb-snapshot --base | tb-upload")
    assert restores["mark"] == "note"
    assert "limits.containers=1 and limits.memory=500MiB" in restores["sentence"]
    assert restores["remedy"].startswith(f"{LOW_LEVEL} && ")
    lab.sh(restores["remedy"])
    assert findings(host) == []
    host.good(f"tb-restore --overwrite {WEB}")
    host.good(f"tb-restore --level3 again {VOLUME}")


def test_a_restore_names_all_that_is_forbidden_and_one_command_allows_it(
    host: Host, lab: Lab
) -> None:
    lab.sh("lxc project unset locked restricted.containers.lowlevel")
    lab.sh("lxc project set locked limits.containers=1")
    into = f"tb-restore --level2 locked {OTHER}"
    full = refused(host, into)
    assert full["hint"] == "raise it meanwhile: lxc project set locked limits.containers=2"
    lab.sh(full["hint"].partition(": ")[2])
    forbidden = refused(host, into)
    for what in ("security.nesting", "proxies (listens)", "(usr)"):
        assert what in forbidden["message"]
    lab.sh(forbidden["hint"].partition(": ")[2])
    host.good(into)
    assert inside.instance(lab, "other", "locked")["config"]["security.nesting"] == "true"


def refused(host: Host, command: str) -> dict[str, str]:
    """Check that the command is refused, with --dry-run too, before anything is received."""
    planned, done = host.sh(f"{command} --dry-run"), host.sh(command)
    assert (planned.status, done.status) == (1, 1)
    error: dict[str, str] = done.records[0]["error"]
    assert error["hint"] in planned.stderr
    assert "bytes_read" not in done.stdout
    return error
