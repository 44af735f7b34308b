"""What the stages of a run cost, summed over its carriers."""

from typing import Any

from three_backup.model.objects import ObjectId
from three_backup.model.records import Record, of_source
from three_backup.watching.stage_costs import Cost, StageCosts

CARRIER = "postgres/cluster/7"


def costs(*records: Record) -> dict[str, Cost]:
    found = StageCosts()
    for record in records:
        found.add(record)
    return found.costs


def table(name: str, **fields: Any) -> Record:
    return Record.of(ObjectId("postgres", "table", "shop", "public", name), **fields)


def test_what_the_records_of_a_carrier_share_counts_once() -> None:
    taken = {"stored_size": 10, "seconds": 1.5}
    sent = {"snapshots": [], "bytes": 8, "seconds": 0.5}
    gone = {"local": [], "s3": [], "seconds": 0.25}
    shared = {"carrier": CARRIER, "snapshot": taken, "uploaded": sent, "removed": gone}
    assert costs(table("users", **shared), table("orders", **shared)) == {
        "snapshot": Cost(1.5, 10),
        "upload": Cost(0.5, 8),
        "rotate": Cost(0.25),
    }
    assert costs(table("a", snapshot=taken), table("b", snapshot=taken))["snapshot"] == Cost(3, 20)


def test_both_pulls_of_a_run_count() -> None:
    wal = {"stored": 5, "seconds": 1.0}
    pulled = of_source(CARRIER, "postgres", carrier=CARRIER, wal=wal)
    assert costs(pulled, pulled) == {"wal": Cost(2.0, 10)}


def test_what_is_malformed_costs_nothing() -> None:
    odd = {"stored_size": "much", "seconds": None}
    assert costs(table("users", snapshot=odd, uploaded=[])) == {"snapshot": Cost(0.0, 0)}
