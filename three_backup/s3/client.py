"""The client, configured for what S3-compatible servers really support.

It is made by botocore, the engine of boto3: the rest of that would cost each start of a tool more.
"""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from three_backup.errors import ConfigurationError
from three_backup.model.storage import Storage
from three_backup.s3.addressing import style_used
from three_backup.s3.failures import explained
from three_backup.s3.listing import read_plainly
from three_backup.s3.past import Past
from three_backup.s3.patience import Patience, Say
from three_backup.s3.redirects import Redirects

THREADS = 4
"""Parts in transfer at the same time."""

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_DEFAULT_REGION = "us-east-1"

Client = Any
"""botocore builds its clients at run time and has no types for them."""

_SERVICES = ("s3", "signin", "sso", "sso-oidc", "sts")
"""S3, and the services that botocore asks for the credentials of a role or a login."""

_WITHOUT_AWS = Path(__file__).parent
"""A folder whose `endpoints.json` names no server; botocore's names those of AWS in a megabyte."""

_WITHOUT_GLOBAL = {"us_east_1_regional_endpoint": "regional"}
"""Else us-east-1 is looked up in that file as `aws-global`."""


def connect(storage: Storage, say: Say, count: Callable[[], None]) -> Client:
    """Return a client that several threads may share.

    say: told when S3 keeps us waiting; count: called for every HTTP request.

    Where storage.as_of names a moment, it only reads, and what there was then.

    Keys are listed unencoded. Those of ClickHouse contain `%`: if a server claimed to have encoded
    them and had not, we would decode them into other keys.
    """
    from botocore.handlers import (  # type: ignore[import-untyped]
        set_list_objects_encoding_type_url,
    )

    from three_backup.s3 import signing, throttle

    client = _client(storage)
    events = client.meta.events
    events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    events.register("needs-retry.s3", Patience(storage, say).pause)
    Redirects(storage, say).register(events)
    events.register("before-sign.s3.DeleteObjects", _with_content_md5)
    events.register("before-sign.s3.PutObjectRetention", _with_content_md5)
    events.register("before-sign.s3.UploadPart", _with_unsigned_body)
    signing.register(events)
    throttle.register(events)
    # This event comes before botocore searches the answer for an error: less is left to search.
    events.register("before-parse.*.ListObjectsV2", read_plainly)
    events.register("before-send.s3", lambda **_: count())
    for listing in ("ListObjectsV2", "ListObjectVersions"):
        event = f"before-parameter-build.s3.{listing}"
        events.unregister(event, set_list_objects_encoding_type_url)
    return client if storage.as_of is None else Past(client, storage, storage.as_of)


def content_md5(digest: bytes) -> str:
    """Spell an MD5 as the header Content-MD5 does; the server checks the body against it."""
    return base64.b64encode(digest).decode()


def _client(storage: Storage) -> Client:
    """Make the client. Raises ConfigurationError if botocore cannot."""
    _check_ca_file(storage.ca_file)
    try:
        with explained(storage):
            session = _session(asks_aws=None in (storage.endpoint, storage.access_key))
            return session.create_client(
                "s3",
                endpoint_url=storage.endpoint,
                aws_access_key_id=storage.access_key,
                aws_secret_access_key=storage.secret_key,
                region_name=storage.region
                or session.get_config_variable("region")
                or _DEFAULT_REGION,
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
def _session(*, asks_aws: bool) -> Any:
    """Return the one session of its kind: it reads much JSON for its first client.

    asks_aws: whether it may have to find a server of AWS, for S3 or for credentials.
    """
    # Imported here: it takes a tenth of a second, too long for tools that need no S3.
    from botocore.loaders import Loader  # type: ignore[import-untyped]
    from botocore.session import get_session  # type: ignore[import-untyped]

    session, loader = get_session(), Loader([] if asks_aws else [str(_WITHOUT_AWS)])
    # The loader would search four hundred folders for all services.
    loader.list_available_services = lambda type_name: _SERVICES
    session.register_component("data_loader", loader)
    return session


def _config(storage: Storage) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]

    encrypted = storage.endpoint is None or storage.endpoint.startswith("https:")
    return Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=2 * THREADS,
        retries={"mode": "standard"},  # connect replaces its handler by Patience
        # Checksums in trailers, botocore's default, break Ceph, Swift, R2 and others.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": style_used(storage),
            # TLS protects the body already.
            "payload_signing_enabled": not encrypted,
            **({} if storage.endpoint is None else _WITHOUT_GLOBAL),
        },
    )


def _with_content_md5(request: Any, **_: Any) -> None:
    """Send Content-MD5: older Swift and Ceph demand it and refuse the newer checksum headers."""
    for name in list(request.headers):
        if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum-")):
            del request.headers[name]
    body = request.data.encode() if isinstance(request.data, str) else request.data
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = content_md5(digest)


def _with_unsigned_body(request: Any, **_: Any) -> None:
    """Leave the body of a part unsigned: its MD5 is in a signed header.

    Hashing the body again would take a third of the CPU time.
    """
    from botocore.config import Config

    if "Content-MD5" in request.headers:
        config = request.context["client_config"]
        unsigned = Config(s3={**config.s3, "payload_signing_enabled": False})
        request.context["client_config"] = config.merge(unsigned)
