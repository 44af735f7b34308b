"""What the lab's LXD holds, made and looked at by its own programs and never through ours."""

import json
from typing import Any

from tests.lab.lab import Lab

_TREE = """
set -e
mount -t zfs -o ro {dataset} /mnt
cd /mnt
find . ! -path ./backup.yaml -printf '%p %y %m %U:%G %n %l\\n' | sort
find . -type f ! -path ./backup.yaml -print0 | sort -z | xargs -0r sha256sum
cd /
umount /mnt
"""

# LXD shows the device of a volume only to what uses it.
_BLOCK = """
set -e
zfs set volmode=dev {zvol}
until test -b /dev/zvol/{zvol}; do sleep 0.1; done
{line}
zfs set volmode=none {zvol}
"""


def query(lab: Lab, path: str) -> Any:
    return json.loads(lab.sh(f"lxc query '{path}'"))


def instance(lab: Lab, name: str, project: str = "default") -> Any:
    return query(lab, f"/1.0/instances/{name}?project={project}")


NIC = "nic network=wire name=eth1 hwaddr=00:16:3e:0a:0b:0c ipv4.address=10.77.0.7"
"""With what LXD gives no two instances of a bridge."""


def create_network(lab: Lab) -> None:
    lab.sh("lxc network create wire ipv4.address=10.77.0.1/24 ipv6.address=none")


def exists(lab: Lab, name: str, project: str = "default") -> bool:
    listed = query(lab, f"/1.0/instances?project={project}")
    return any(path.partition("?")[0].endswith(f"/{name}") for path in listed)


def tree(lab: Lab, dataset: str) -> str:
    """Every path of a dataset that is not mounted, with type, mode, owner, links and content, but
    for the file where LXD itself notes the configuration."""
    return lab.sh(_TREE.format(dataset=dataset))


def change(lab: Lab, dataset: str, script: str) -> None:
    """Run a shell script in the root folder of a dataset that is not mounted."""
    lab.sh(f"set -e\nmount -t zfs {dataset} /mnt\ncd /mnt\n{script}\ncd /\numount /mnt")


def block(lab: Lab, zvol: str, line: str) -> str:
    """What a shell line prints that names the device of a block volume as `/dev/zvol/...`."""
    return lab.sh(_BLOCK.format(zvol=zvol, line=line))


def points(lab: Lab, dataset: str) -> list[str]:
    """The snapshots of a dataset, oldest first."""
    listed = lab.sh(f"zfs list -Ho name -s createtxg -t snapshot -d 1 {dataset}")
    return [line.partition("@")[2] for line in listed.split()]
