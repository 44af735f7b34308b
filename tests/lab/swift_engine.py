"""OpenStack Swift with S3: all its servers in one process, and one copy of each S3 key:

    python -m tests.lab.swift_engine FOLDER PORT USER SECRET REGION

FOLDER is made. USER is `account:name`, and the access key as well.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import eventlet  # type: ignore[import-untyped]
import eventlet.wsgi  # type: ignore[import-untyped]
from swift.common import utils, wsgi  # type: ignore[import-untyped]
from swift.common.ring import RingBuilder  # type: ignore[import-untyped]

from three_backup.demo.daemon import LOOPBACK, free_ports

_BACKENDS = ("account", "container", "object")
_PARTITIONS_POWER = 2
_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = lab

[storage-policy:0]
name = one
default = yes
"""
_BACKEND = """\
[DEFAULT]
devices = {folder}/devices
mount_check = false

[app:main]
use = egg:swift#{name}
"""
_PROXY = """\
[DEFAULT]
swift_dir = {folder}

[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats bulk s3api tempauth slo {name}

[app:{name}]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:bulk]
use = egg:swift#bulk

[filter:s3api]
use = egg:swift#s3api
location = {region}

[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin

[filter:slo]
use = egg:swift#slo
"""


def main() -> None:
    name, port, user, secret, region = sys.argv[1:]
    folder = Path(name)
    (folder / "devices/one").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT)
    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    utils.validate_configuration()
    utils.monkey_patch()
    os.fsync = _no_sync  # type: ignore[assignment]
    os.fdatasync = _no_sync  # type: ignore[assignment]
    ports = {name: _listed(folder, name) for name in _BACKENDS}
    for backend, own in ports.items():
        _serve(folder, backend, own, _BACKEND)
    proxy = {"user": user.replace(":", "_"), "secret": secret, "region": region}
    _serve(folder, "proxy-server", int(port), _PROXY, **proxy).wait()


def _no_sync(_: object) -> None:
    """Replace fsync: no file needs to outlive the server."""


def _listed(folder: Path, name: str) -> int:
    """Choose a port, and write the ring of such a server that leads to it."""
    (port,) = free_ports(1)
    ring = RingBuilder(_PARTITIONS_POWER, replicas=1, min_part_hours=0)
    device = {"region": 1, "zone": 1, "ip": LOOPBACK, "port": port, "device": "one", "weight": 1}
    ring.add_dev(device)
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{name}.ring.gz"))
    return port


def _serve(folder: Path, name: str, port: int, written: str, **more: str) -> Any:
    """Start the server in a green thread, and return that."""
    file = folder / f"{name}.conf"
    file.write_text(written.format(folder=folder, name=name, **more))
    app = wsgi.loadapp(str(file), {"log_name": name})
    serve = partial(
        eventlet.wsgi.server,
        protocol=wsgi.SwiftHttpProtocol,
        log=utils.NullLogger(),
        capitalize_response_headers=False,  # clients of S3 know no `Etag`
    )
    return eventlet.spawn(serve, eventlet.listen((LOOPBACK, port)), app)


if __name__ == "__main__":
    main()
