"""The boto3 client, set up for what S3-compatible servers really understand."""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from three_backup.errors import ConfigurationError
from three_backup.model.storage import Storage
from three_backup.s3.failures import explained
from three_backup.s3.listing import read_plainly
from three_backup.s3.patience import Patience, Say

THREADS = 4
"""Parts on their way at the same time."""

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_DEFAULT_REGION = "us-east-1"

Client = Any
"""boto3 builds its clients at run time and has no types for them."""


def connect(storage: Storage, say: Say, count: Callable[[], None]) -> Client:
    """A client that several threads may share. say: told when S3 keeps us waiting; count: called
    for every HTTP request.

    Keys are listed as they are: ClickHouse's hold `%`, and a store that says it encoded them, but
    did not, would have us decode them into others.
    """
    from botocore.handlers import (  # type: ignore[import-untyped]
        set_list_objects_encoding_type_url,
    )

    client = _client(storage)
    events = client.meta.events
    events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    events.register("needs-retry.s3", Patience(storage, say).pause)
    events.register("before-sign.s3.DeleteObjects", _with_content_md5)
    events.register("before-sign.s3.UploadPart", _with_unsigned_body)
    # Spelled so, it comes before botocore looks for an error in the answer, which is shorter then.
    events.register("before-parse.*.ListObjectsV2", read_plainly)
    events.register("before-send.s3", lambda **_: count())
    events.unregister(
        "before-parameter-build.s3.ListObjectsV2", set_list_objects_encoding_type_url
    )
    return client


def content_md5(digest: bytes) -> str:
    """An MD5 as the header Content-MD5 spells it; with it the server checks what it receives."""
    return base64.b64encode(digest).decode()


def _client(storage: Storage) -> Client:
    """As boto3 makes it. Raises ConfigurationError where it cannot."""
    _check_ca_file(storage.ca_file)
    try:
        with explained(storage):
            session = _session()
            return session.client(
                "s3",
                endpoint_url=storage.endpoint,
                aws_access_key_id=storage.access_key,
                aws_secret_access_key=storage.secret_key,
                region_name=storage.region or session.region_name or _DEFAULT_REGION,
                verify=None if storage.ca_file is None else str(storage.ca_file),
                config=_config(storage),
            )
    except ValueError as error:
        raise ConfigurationError(
            "s3.endpoint",
            f"{storage.endpoint}: this is not the address of a server",
            "write s3_endpoint as host, host:port or a URL",
        ) from error


def _check_ca_file(path: Path | None) -> None:
    if path is not None and not path.is_file():
        raise ConfigurationError(
            "s3.ca_file", f"{path}: there is no such file", "correct s3_ca_file"
        )


@cache
def _session() -> Any:
    """Shared: it reads megabytes of JSON for its first client."""
    # Imported here: a quarter of a second, which tools that need no S3 shall not wait.
    from boto3.session import Session  # type: ignore[import-untyped]
    from botocore.loaders import Loader  # type: ignore[import-untyped]
    from botocore.session import get_session  # type: ignore[import-untyped]

    session, loader = get_session(), Loader()
    # It would look for all services that there are, through four hundred folders.
    loader.list_available_services = lambda type_name: ["s3"]
    session.register_component("data_loader", loader)
    return Session(botocore_session=session)


def _config(storage: Storage) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    encrypted = storage.endpoint is None or storage.endpoint.startswith("https:")
    return Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=2 * THREADS,
        retries={"mode": "standard"},  # whose handler gives way to Patience
        # Checksums in trailers, boto3's default, break Ceph, Swift, R2 and others.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": storage.addressing_style,
            # TLS protects the body already.
            "payload_signing_enabled": not encrypted,
        },
    )


def _with_content_md5(request: Any, **_: Any) -> None:
    """Older Swift and Ceph demand this header on DeleteObjects and refuse what replaced it."""
    for name in list(request.headers):
        if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum-")):
            del request.headers[name]
    body = request.data.encode() if isinstance(request.data, str) else request.data
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = content_md5(digest)


def _with_unsigned_body(request: Any, **_: Any) -> None:
    """The MD5 of a part is signed, in a header: hashing it again is a third of the CPU time."""
    from botocore.config import Config

    if "Content-MD5" in request.headers:
        config = request.context["client_config"]
        unsigned = Config(s3={**config.s3, "payload_signing_enabled": False})
        request.context["client_config"] = config.merge(unsigned)
