"""Records of how carriers stand."""

from collections.abc import Iterator
from typing import Any

from three_backup.errors import BackupError
from three_backup.keeping import moments
from three_backup.model.records import Record, of_source
from three_backup.model.snapshots import rfc3339
from three_backup.watching.every_host import OfHost
from three_backup.watching.health import Health
from three_backup.watching.overview import WatchedCarrier


def records_of(watched: WatchedCarrier) -> Iterator[Record]:
    """Yield one for each object; a failed one for a source, or a carrier without a snapshot."""
    status = _status(watched)
    if not watched.objects:
        why = "; ".join(watched.health.troubles)
        failed = of_source(watched.carrier, watched.carrier.type, status=status)
        yield failed.with_error("tb-status", BackupError("status.nothing_stored", why))
    carrier = {"carrier": watched.carrier}
    for carried in watched.objects:
        shared = carrier if watched.carrier != str(carried.id) else {}
        proved = watched.proved.get(str(carried.id))
        known = {**status, "proved": proved and rfc3339(proved)}
        yield Record.of(carried.id, **shared, status=known)


def records_of_host(one: OfHost, own: str) -> Iterator[Record]:
    """Yield the records of a carrier of any host. own: the prefix of this host."""
    of_another_host = {} if one.host == own else {"s3_prefix": one.host}
    if not one.watched.carrier:
        error = BackupError("status.host", "; ".join(one.troubles))
        yield of_source("s3", "s3", **of_another_host).with_error("tb-status", error)
        return
    for record in records_of(one.watched):
        yield record.with_fields(**of_another_host)


def _status(watched: WatchedCarrier) -> dict[str, Any]:
    health = watched.health
    chain = health.chain
    times = {
        "base": health.base,
        "incremental": health.incremental,
        "uploaded": health.uploaded,
        "next_base": health.next_base,
        "next_incremental": health.next_incremental,
    }
    return {
        "level": health.level.name.lower(),
        "troubles": list(health.troubles),
        "chain": chain and {"base": rfc3339(chain.base), "increments": chain.increments},
        **{name: time and rfc3339(time) for name, time in times.items()},
        **({"copied": _copied(health)} if health.copied else {}),
        **({"moments": moments.described(watched.log)} if watched.log else {}),
        **({"gone": True} if watched.gone else {}),
    }


def _copied(health: Health) -> dict[str, str | None]:
    known = health.copied.items()
    return {store: None if time is None else rfc3339(time) for store, time in known}
