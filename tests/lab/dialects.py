"""S3 servers other than SeaweedFS, as the tests need them, and certificates for TLS."""

import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from three_backup.demo.daemon import LOOPBACK, Account, Daemon, free_ports

_ROOT = Path(__file__).parents[2]


class Dialect:
    """An S3 server in its own process, ready within the block."""

    access_key: str
    secret_key: str
    region = "us-east-1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_ports(1)[0]
        self._daemon = Daemon(type(self).__name__, folder, Account())
        folder.mkdir(mode=0o700)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)}
        argv = (sys.executable, "-m", *self._module())
        self._daemon.start(argv, environ, self._is_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.end(signal.SIGKILL)

    def create_bucket(self, name: str) -> None:
        self._client.create_bucket(Bucket=name)

    def delete_bucket(self, name: str) -> None:
        """Delete the bucket with everything in it."""
        for upload in self._client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
            named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._client.abort_multipart_upload(Bucket=name, **named)
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", ()):
                self._client.delete_object(Bucket=name, Key=found["Key"])
        self._client.delete_bucket(Bucket=name)

    def _module(self) -> tuple[str, ...]:
        """Return the Python module of the server and its arguments."""
        raise NotImplementedError

    @property
    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}),
        )

    def _is_ready(self) -> bool:
        """Whether the server answers; it refuses a request without a key, which is an answer."""
        try:
            urllib.request.urlopen(self.endpoint).close()  # noqa: S310
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


class MotoServer(Dialect):
    """moto, which speaks as AWS does and accepts any secret."""

    access_key = secret_key = "moto"

    def _module(self) -> tuple[str, ...]:
        return ("moto.server", "-H", LOOPBACK, "-p", str(self._port))


class SwiftServer(Dialect):
    """OpenStack Swift, which checks the region and allows at most a thousand parts per upload."""

    access_key, secret_key = "lab:administrator", "hushhush"
    region = "ru-1"

    def create_bucket(self, name: str) -> None:
        where = {"LocationConstraint": self.region}
        self._client.create_bucket(Bucket=name, CreateBucketConfiguration=where)

    def _module(self) -> tuple[str, ...]:
        told = (self.access_key, self.secret_key, self.region)
        return ("tests.lab.swift_engine", str(self._folder / "swift"), str(self._port), *told)


@contextmanager
def certified(folder: Path) -> Iterator[tuple[Path, ssl.SSLContext]]:
    """Yield a self-signed certificate for this host, and a server's TLS context with it."""
    certificate, key = certificate_in(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield certificate, context


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for this host; return the files of it and of its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subject = ("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{LOOPBACK}")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run((*argv.split(), *subject, *files), check=True, capture_output=True)
    return certificate, key
