"""Follow a server that sends us to another region or address, and say which option spares it.

botocore's own way costs two hundred requests where no answer names a region.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from three_backup.model.storage import Storage
from three_backup.s3.patience import Say

_MOST = 3
"""How often one request is sent on."""

_PERMANENT = frozenset({301, 308, 400})
"""Statuses after which later requests go there at once; 400 tells the region."""

_MOVED = frozenset({301, 302, 307, 308})
_OTHER_REGION = frozenset(
    {"400", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_AWS = re.compile(r"\bs3[.-](dualstack\.)?(?:([a-z]{2}(?:-[a-z]+)+-\d)\.)?(?=amazonaws\.)")
"""The name of a server of AWS, with its region."""
_DONE = "three_backup.redirects"


@dataclass(frozen=True, slots=True)
class _Target:
    address: str | None = None  # scheme://host:port; None: where the request went
    region: str | None = None  # None: the region that it was signed for


class Redirects:
    """The redirects of all requests of one client; its threads share it."""

    def __init__(self, storage: Storage, say: Say) -> None:
        self._storage = storage
        self._say = say
        self._remembered = _Target()

    def register(self, events: Any) -> None:
        """Take the place of botocore's handler in a client."""
        events.register_last("before-parameter-build.s3", _without_botocore)
        events.register("before-call.s3", self._go_at_once)
        events.register("needs-retry.s3", self._follow)

    def _go_at_once(self, params: dict[str, Any], **_: Any) -> None:
        _send_to(self._remembered, params)

    def _follow(
        self,
        response: tuple[Any, Mapping[str, Any]] | None,
        request_dict: dict[str, Any],
        **_: Any,
    ) -> float | None:
        """Send the request on, and return 0 for another try; None if it is not sent on."""
        context = request_dict["context"]
        if response is None or context.get(_DONE, 0) >= _MOST:
            return None
        target = _target(response[1], request_dict, str(self._storage.bucket))
        if target == _Target():
            return None
        context[_DONE] = context.get(_DONE, 0) + 1
        _send_to(target, request_dict)
        if response[1]["ResponseMetadata"]["HTTPStatusCode"] in _PERMANENT:
            self._remembered = target
        self._tell(target)
        return 0

    def _tell(self, target: _Target) -> None:
        where = self._storage.endpoint or "S3"
        if target.address is not None and self._storage.endpoint is not None:
            self._say(f"{where}: the server sends us on; set s3_endpoint: {target.address}")
        if target.region is not None:
            self._say(f"{where}: the bucket is in another region; set s3_region: {target.region}")


def _without_botocore(context: dict[str, Any], **_: Any) -> None:
    context["s3_redirect"]["redirected"] = True


def _target(answer: Mapping[str, Any], request: Mapping[str, Any], bucket: str) -> _Target:
    """Return what differs in the place that an answer names; nothing if it names none."""
    error, told = answer.get("Error", {}), answer["ResponseMetadata"]
    moved = told["HTTPStatusCode"] in _MOVED
    if not moved and error.get("Code") not in _OTHER_REGION:
        return _Target()
    url = urlsplit(request["url"])
    address = _address(error, told["HTTPHeaders"], url, bucket) if moved else None
    named = error.get("Region") or told["HTTPHeaders"].get("x-amz-bucket-region")
    found = _AWS.search(address or "")
    region = named or (found and found[2])
    if moved and address is None and region and _AWS.search(url.netloc):  # HEAD: only the region
        there = _AWS.sub(rf"s3.\g<1>{region}.", url.netloc)
        address = f"{url.scheme}://{there}" if there != url.netloc else None
    signed_for = request["context"].get("signing", {}).get("region")
    return _Target(address, None if region == signed_for else region)


def _address(
    error: Mapping[str, str], headers: Mapping[str, str], url: SplitResult, bucket: str
) -> str | None:
    """Return the address that an answer names; None if it is none for the same request by us.

    Never is a request that was encrypted sent on in the clear.
    """
    there = urlsplit(headers.get("location", ""))
    if not there.netloc and error.get("Endpoint"):
        there = url._replace(netloc=_like(url.netloc, error["Endpoint"], bucket))
    same = there.path.rstrip("/") == url.path.rstrip("/") and there.netloc
    if not same or (url.scheme, there.scheme) == ("https", "http"):
        return None
    address = f"{there.scheme}://{there.netloc}"
    return None if address == f"{url.scheme}://{url.netloc}" else address


def _like(netloc: str, endpoint: str, bucket: str) -> str:
    """Return the endpoint with the bucket in its name if netloc has it there, else without."""
    plain = endpoint.removeprefix(f"{bucket}.")
    return f"{bucket}.{plain}" if netloc.startswith(f"{bucket}.") else plain


def _send_to(target: _Target, request: dict[str, Any]) -> None:
    if target.address is not None:
        there, url = urlsplit(target.address), urlsplit(request["url"])
        request["url"] = urlunsplit(url._replace(scheme=there.scheme, netloc=there.netloc))
    if target.region is not None:
        signing = request["context"].get("signing", {})
        request["context"]["signing"] = {**signing, "region": target.region}
