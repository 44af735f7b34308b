"""S3 servers that are not SeaweedFS, with what the tests need of one, and TLS before any."""

import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from three_backup.demo.daemon import LOOPBACK, Account, Daemon, free_ports


class MotoServer:
    """moto, which speaks as AWS does and takes any secret for right."""

    def __init__(self, folder: Path) -> None:
        self.access_key = self.secret_key = "moto"
        self._port = free_ports(1)[0]
        self._daemon = Daemon("moto", folder, Account())
        folder.mkdir(mode=0o700)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        argv = (sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port))
        self._daemon.start(argv, {"PATH": "/usr/bin:/bin"}, self._is_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.end(signal.SIGKILL)

    def create_bucket(self, name: str) -> None:
        self._client.create_bucket(Bucket=name)

    def delete_bucket(self, name: str) -> None:
        """With everything in it."""
        for upload in self._client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
            named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._client.abort_multipart_upload(Bucket=name, **named)
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", ()):
                self._client.delete_object(Bucket=name, Key=found["Key"])
        self._client.delete_bucket(Bucket=name)

    @property
    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def _is_ready(self) -> bool:
        with suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{self.endpoint}/moto-api/").close()  # noqa: S310
            return True
        return False


@contextmanager
def certified(folder: Path) -> Iterator[tuple[Path, ssl.SSLContext]]:
    """A certificate for this host that is its own authority, and a server's context with it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run((*argv.split(), *subject, *files), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield certificate, context
