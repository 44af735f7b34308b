"""What an instance needs and its host lacks is named, or left out, for each kind of device."""

import shlex

import pytest

from tests.lab.lab import Lab
from tests.lxd import inside
from tests.pipeline.conftest import Host

FULL = "lxd/container/default/default/full"
NETS = "lxd/container/default/nets/nets"
ODD = "lxd/container/default/default/odd"
PROFILE = "-пр *?%s 'q'"
DESCRIPTION = "a \"b\" 'c' # : \u2028 \U0001f389"
DEVICES = {
    "macvlan": ("nic nictype=macvlan parent=gone0 name=e1", "network interface gone0"),
    "bridged": ("nic nictype=bridged parent=gone1 name=e2", "network interface gone1"),
    "physical": ("nic nictype=physical parent=gone2 name=e3", "network interface gone2"),
    "ib": ("infiniband nictype=physical parent=gone3 name=e4", "network interface gone3"),
    "managed": ("nic network=wire name=e5", "network wire"),
    "char": ("unix-char path=/dev/gone4", "path /dev/gone4 of the host"),
    "block": ("unix-block source=/dev/gone5 path=/dev/x", "path /dev/gone5 of the host"),
    "gpu": ("gpu vendorid=8086", "GPU vendorid=8086"),
    "usb": ("usb vendorid=0403 required=true", "USB device vendorid=0403"),
    "plug": ("unix-hotplug vendorid=0403 required=true", "USB device vendorid=0403"),
    "proxy": (
        *("proxy listen=tcp:203.0.113.7:80 connect=tcp:127.0.0.1:80",),
        "address 203.0.113.7 of the host",
    ),
    "volume": ("disk pool=second source=site path=/site", "volume site of pool second"),
}
KEPT = {
    "alive": "nic nictype=macvlan parent=stays name=e6",
    "any": "gpu",
    "maybe": "usb vendorid=0403",
    "null": "unix-char path=/dev/null",
    "made": "unix-char path=/dev/made major=10 minor=200",
    "local": "proxy listen=tcp:127.0.0.1:7002 connect=tcp:127.0.0.1:80",
}


@pytest.fixture(scope="module", autouse=True)
def made(host: Host, lab: Lab) -> None:
    """Containers with every kind of device and odd names; then the host loses half of it."""
    links = ("gone0", "gone1", "gone2", "gone3", "stays")
    lab.sh("; ".join(f"ip link add {name} type dummy" for name in links))
    inside.create_network(lab)
    lab.sh(
        f"""
        set -e
        lxc storage volume create second site
        lxc init tiny full
        lxc project create nets -c features.networks=true -c features.profiles=false \\
            -c features.images=false
        lxc init tiny nets --project nets
        lxc config device add nets e1 nic nictype=macvlan parent=stays --project nets
        lxc profile create -- {shlex.quote(PROFILE)}
        lxc init tiny odd -p default -p {shlex.quote(PROFILE)} --ephemeral -c boot.autostart=true
        """
    )
    for name, device in {**{name: kind for name, (kind, _) in DEVICES.items()}, **KEPT}.items():
        lab.sh(f"lxc config device add full {name} {device}")
    lab.sh(f"lxc query -X PATCH -d {shlex.quote(described())} /1.0/instances/odd")
    objects = (FULL, NETS, ODD)
    host.good(f"tb-discover {selected(objects)} | tb-snapshot --base | tb-upload")
    lab.sh("lxc delete full odd && lxc delete nets --project nets")
    lab.sh("lxc storage volume delete second site && lxc network delete wire")
    lab.sh("; ".join(f"ip link delete {name}" for name in links[:-1]))
    host.wipe()


def described() -> str:
    escaped = DESCRIPTION.replace('"', '\\"')
    return f'{{"description": "{escaped}"}}'


def selected(objects: tuple[str, ...]) -> str:
    return " ".join(f"-s {object_id}" for object_id in objects)


def test_what_the_host_lacks_is_named_before_anything_is_received(host: Host) -> None:
    refused = host.sh(f"tb-restore {FULL}")
    assert refused.status == 1
    assert "bytes_read" not in refused.stdout
    message = refused.records[0]["error"]["message"]
    named = message.partition("what is not here: ")[2].split(", ")
    assert sorted(named) == sorted(what for _, what in DEVICES.values())


def test_without_it_the_rest_comes_back_and_starts(host: Host, lab: Lab) -> None:
    done = host.good(f"tb-restore --without-devices {FULL}")
    notes = done.records[0]["restored"]["notes"]
    assert sorted(notes) == sorted(
        f"it is without {what}, which is not here" for _, what in DEVICES.values()
    )
    full = inside.instance(lab, "full")
    assert set(full["devices"]) == set(KEPT)
    lab.sh("lxc start full && lxc delete --force full")


def test_a_project_with_networks_of_its_own_uses_interfaces_of_the_host(
    host: Host, lab: Lab
) -> None:
    host.good(f"tb-restore {NETS}")
    lab.sh("lxc start nets --project nets && lxc delete --force nets --project nets")


def test_odd_names_and_short_lives_come_back_as_they_were(host: Host, lab: Lab) -> None:
    host.good(f"tb-restore {ODD}")
    odd = inside.instance(lab, "odd")
    assert odd["profiles"] == ["default", PROFILE]
    assert (odd["description"], odd["ephemeral"]) == (DESCRIPTION, True)
    assert (odd["config"]["boot.autostart"], odd["status"]) == ("true", "Stopped")
    lab.sh("lxc delete odd")
