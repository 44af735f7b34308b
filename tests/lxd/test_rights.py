"""A user without the needed rights is told which right is missing."""

import os

import pytest

from tests.lab.lab import Lab
from tests.pipeline.conftest import Host, Outcome

WEB = "lxd/container/default/default/web"
BASE = f"tb-discover -s {WEB} | tb-snapshot --base | tb-upload | tb-rotate"


@pytest.fixture(scope="module", autouse=True)
def web(lab: Lab) -> None:
    lab.sh("lxc init tiny web")


def test_who_cannot_speak_to_lxd_reads_so_and_the_status_says_unreachable(host: Host) -> None:
    outcome = host.sh("tb-discover -s lxd", environ={"LAB_USER": "outsider"})
    assert outcome.status == 69
    (record,) = outcome.records
    assert record["id"] == "lxd"
    assert record["error"]["hint"]
    assert len(outcome.stderr.strip().splitlines()) == 1


def test_a_check_says_what_answers_and_what_is_in_the_way(host: Host) -> None:
    found = {line["finding"]["subject"]: line["finding"] for line in checked(host, "root").records}
    assert found["lxd"]["mark"] == "good"
    assert "with 1 instance" in found["lxd"]["sentence"]
    assert found["pool default"] == {
        "mark": "good",
        "subject": "pool default",
        "sentence": "ZFS has it as tank/lxd",
    }
    (other,) = [finding for finding in found.values() if finding["mark"] == "note"]
    assert "only pools on ZFS are backed up yet" in other["sentence"]
    outside = checked(host, "outsider")
    assert outside.status != 0
    (record,) = outside.records
    assert record["finding"]["mark"] == "bad"
    assert record["finding"]["remedy"]


def checked(host: Host, user: str) -> Outcome:
    return host.sh("tb-check --json -s lxd", environ={"LAB_USER": user})


def test_who_may_not_send_reads_the_right_to_give_and_with_it_succeeds(
    host: Host, lab: Lab
) -> None:
    environ = {"LAB_USER": "member"}
    refused = host.sh(BASE, environ=environ)
    assert refused.status == 1
    assert "zfs allow" in refused.stderr
    lab.sh("zfs allow member send,hold tank/lxd")
    done = host.sh(f"tb-discover -s {WEB} | tb-upload | tb-rotate", environ=environ)
    assert done.status == 0, done.stderr
    assert done.records[0]["uploaded"]["bytes"]
    lab.sh("zfs unallow member tank/lxd")


def test_a_restore_without_root_fails_with_the_remedy_and_leaves_nothing(
    host: Host, lab: Lab
) -> None:
    host.good(BASE)
    refused = host.sh(f"tb-restore --level3 second {WEB}", environ={"LAB_USER": "member"})
    assert refused.status == 1
    assert "root" in refused.stderr
    assert "tb-restore" not in lab.sh("lxc list --format csv -c n")


def test_lxd_that_is_missing_is_said(host: Host, lab: Lab) -> None:
    host.good(BASE)
    path = host.environ["PATH"].replace(f"{lab.bindir}{os.pathsep}", "")
    outcome = host.sh(f"tb-restore {WEB}", environ={"PATH": path})
    assert outcome.status != 0
    assert f"the program {lab.words.common(lab.words.client)} is missing" in outcome.stderr
