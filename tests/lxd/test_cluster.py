"""Of a clustered LXD each host backs up what lies on it, and nothing of the other members."""

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

WEB = "lxd/container/default/default/web"
SITE = "lxd/volume/default/default/site"
RUN = f"tb-discover -s {WEB} -s {SITE} | tb-snapshot --incremental | tb-upload"

# A second member that does not answer, with a container and a volume of its own.
MEMBERS = """
set -e
lxc config set core.https_address 127.0.0.1:8443
lxc cluster enable here
lxd sql global "INSERT INTO nodes (name, description, address, schema, api_extensions, heartbeat,
    state, arch) SELECT 'there', '', '127.0.0.1:9', schema, api_extensions, '2020-01-01 00:00:00',
    0, arch FROM nodes"
for table in instances storage_volumes; do
    lxd sql global "UPDATE $table SET node_id = (SELECT id FROM nodes WHERE name = 'there')
        WHERE name IN ('away', 'far')"
done
"""


@pytest.fixture(scope="module", autouse=True)
def clustered(host: Host, lab: Lab) -> None:
    """A host that took a base, then became a member of a cluster."""
    lab.sh("lxc init tiny web; lxc init tiny away")
    lab.sh("for name in site far; do lxc storage volume create default $name; done")
    host.good(RUN)
    lab.sh(MEMBERS)


def test_what_lies_on_other_members_is_not_listed(host: Host) -> None:
    listed = {record["id"]: record for record in host.good("tb-discover -s lxd").records}
    assert listed.keys() == {WEB, SITE}
    assert not any("unsupported" in record for record in listed.values())
    assert "pool default: ZFS has it as tank/lxd" in host.sh("tb-check").stdout


def test_chains_go_on_and_restores_come_back_to_this_member(host: Host, lab: Lab) -> None:
    inside.change(lab, "tank/lxd/containers/web", "echo more > rootfs/word")
    taken = host.good(RUN).records
    assert {record["snapshot"]["kind"] for record in taken} == {"incremental"}
    web = inside.tree(lab, "tank/lxd/containers/web")
    site = inside.tree(lab, "tank/lxd/custom/default_site")
    host.good(f"tb-restore --overwrite {WEB} {SITE}")
    host.wipe()
    host.good(f"tb-restore --level3-suffix=2 {WEB} {SITE}")
    for name in ("web", "web2"):
        assert inside.tree(lab, f"tank/lxd/containers/{name}") == web
        assert inside.instance(lab, name)["location"] == "here"
    for name in ("site", "site2"):
        assert inside.tree(lab, f"tank/lxd/custom/default_{name}") == site
