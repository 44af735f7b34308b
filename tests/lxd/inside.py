"""Make and inspect what the lab's LXD holds, with its own programs and never with ours."""

import io
import json
import shlex
import sys
import tarfile
from pathlib import Path
from typing import Any

import three_backup
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

# LXD shows the device of a block volume only while something uses the volume.
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
"""A network card with a MAC and an address, which no two instances on a bridge may share."""


def create_network(lab: Lab) -> None:
    lab.sh("lxc network create wire ipv4.address=10.77.0.1/24 ipv6.address=none")


def exists(lab: Lab, name: str, project: str = "default") -> bool:
    listed = query(lab, f"/1.0/instances?project={project}")
    return any(path.partition("?")[0].endswith(f"/{name}") for path in listed)


def tree(lab: Lab, dataset: str) -> str:
    """List every path of an unmounted dataset with type, mode, owner, links and content.

    The file where LXD notes the configuration is left out.
    """
    return lab.sh(_TREE.format(dataset=dataset))


def change(lab: Lab, dataset: str, script: str) -> None:
    """Run a shell script in the root folder of an unmounted dataset."""
    lab.sh(f"set -e\nmount -t zfs {dataset} /mnt\ncd /mnt\n{script}\ncd /\numount /mnt")


def block(lab: Lab, zvol: str, line: str) -> str:
    """Run a shell line that uses a block volume as `/dev/zvol/...`; return what it prints."""
    return lab.sh(_BLOCK.format(zvol=zvol, line=line))


def points(lab: Lab, dataset: str) -> list[str]:
    """Return the snapshots of a dataset, oldest first."""
    listed = lab.sh(f"zfs list -Ho name -s createtxg -t snapshot -d 1 {dataset}")
    return [line.partition("@")[2] for line in listed.split()]


_READER = ("__init__.py", "errors.py", "command", "host", "tree")
_INSTALL = """
set -e
mkdir -p {folder}
for python in {python} {folder}/python3; do ln -sf /usr/bin/python3 $python; done
tar -xf - -C "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
"""


def install_tree_reader(lab: Lab) -> None:
    """Install the program that reads trees, where this host's Python would find it."""
    package, packed = Path(three_backup.__file__).parent, io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in _READER:
            tar.add(package / name, f"three_backup/{name}")
    python = Path(sys.executable)
    line = _INSTALL.format(folder=shlex.quote(str(python.parent)), python=shlex.quote(str(python)))
    lab.sh(line, packed.getvalue())
