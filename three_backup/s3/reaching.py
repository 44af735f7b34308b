"""Whether a bucket can be reached, and which other value of an option would do if it cannot."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from three_backup.errors import BackupError
from three_backup.model.findings import Finding, Mark, bad, good, note
from three_backup.model.storage import Storage
from three_backup.s3.addressing import why_not_virtual
from three_backup.s3.store import Store

_SKEW = 300.0
"""Seconds by which clocks may differ without a note; servers refuse a quarter of an hour."""

_PERHAPS_SCHEME = frozenset({"s3.failed", "s3.not_s3", "s3.tls", "s3.unreachable"})
"""Codes of what befalls http where https is spoken, or the other way round."""


def reach(storage: Storage, folder: str, clock: Callable[[], datetime]) -> Iterator[Finding]:
    """Try a listing: it needs the network, the access keys, the region, clock and bucket."""
    said: list[str] = []
    store = Store(storage, said.append)
    try:
        answer = next(store.pages(folder, MaxKeys=1))
    except BackupError as error:
        skew = _skew(_headers(error), clock())
        yield _unreached(storage, folder, error) if skew <= _SKEW else _differ(Mark.BAD, skew)
        return
    skew = _skew(answer["ResponseMetadata"]["HTTPHeaders"], clock())
    if skew > _SKEW:
        yield _differ(Mark.NOTE, skew)
    else:
        yield good("reached", f"{store.place()} is listed; keys, region and clock are right")
    for sentence in dict.fromkeys(said):
        yield note("redirects", *sentence.partition("; ")[::2])
    why = why_not_virtual(storage)
    if why:
        sentence = f"the bucket stays in the path of addresses: {why}"
        yield note("addressing", sentence, "set s3_addressing_style: path")


def without_tls(storage: Storage) -> Iterator[Finding]:
    """Yield a finding where others can read what is sent."""
    if storage.endpoint is not None and storage.endpoint.startswith("http:"):
        yield note("TLS", "what is sent can be read on its way", "write https in s3_endpoint")


def _differ(mark: Mark, skew: float) -> Finding:
    sentence = f"the clocks of this host and of the server differ by {skew:.0f} seconds"
    return Finding(mark, "reached", sentence, "set the clock, by NTP for instance")


def _headers(error: BackupError) -> Mapping[str, str]:
    """Return the headers of the answer that is the failure; none if there was no answer."""
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    if not isinstance(error.__cause__, ClientError):
        return {}
    headers: Mapping[str, str] = error.__cause__.response["ResponseMetadata"]["HTTPHeaders"]
    return headers


def _skew(headers: Mapping[str, str], now: datetime) -> float:
    """Return the seconds between the server's clock and ours; 0 if it does not tell."""
    from email.utils import parsedate_to_datetime

    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return 0.0
    return abs((said.replace(tzinfo=said.tzinfo or UTC) - now).total_seconds())


def _unreached(storage: Storage, folder: str, error: BackupError) -> Finding:
    """Return a finding of the failure, with the option that cures it if one is found."""
    for option, value, other in _alternatives(storage, error):
        try:
            next(Store(other).all_keys(folder), None)
        except BackupError:
            continue
        remedy = f"set {option}: {value}"
        return Finding(Mark.BAD, "reached", error.message, remedy, (option, value))
    return bad("reached", error)


def _alternatives(storage: Storage, error: BackupError) -> Iterator[tuple[str, str, Storage]]:
    style = "path" if storage.addressing_style == "virtual" else "virtual"
    yield "s3_addressing_style", style, replace(storage, addressing_style=style)
    for region in _regions(error):
        yield "s3_region", region, replace(storage, region=region)
    for endpoint in _endpoints(storage, error):
        yield "s3_endpoint", endpoint, replace(storage, endpoint=endpoint)


def _endpoints(storage: Storage, error: BackupError) -> Iterator[str]:
    """Yield the endpoint without what was written too much, and with the other scheme."""
    parts = urlsplit(storage.endpoint or "")
    server = parts.netloc.removeprefix(f"{storage.bucket}.")
    if parts.path or server != parts.netloc:
        yield f"{parts.scheme}://{server}"
    if storage.endpoint and error.code in _PERHAPS_SCHEME:
        yield urlunsplit(parts._replace(scheme="http" if parts.scheme == "https" else "https"))


def _regions(error: BackupError) -> list[str]:
    """Return the region that the server asks for: some say `expecting 'eu-1'`."""
    _, found, rest = error.message.partition("expecting '")
    return [rest.partition("'")[0]] if found else []
