"""How old the copies in a further store are is watched, and the store can be looked at alone."""

from tests.pipeline.conftest import NEVER_AGAIN, Host, store
from tests.pipeline.test_copy import COPY, TAKE, copies, keys, shop, snapshots, vault, with_vault

__all__ = ["shop", "vault"]
_DAILY = {**NEVER_AGAIN, "incremental_schedule": "0 3 * * *"}


def test_copies_that_stay_behind_are_told_until_they_come(shop: Host, vault: str) -> None:
    with_vault(shop, vault, copy_to="vault", **_DAILY)
    first = shop.sh("tb-status")
    assert "there is no copy in store vault yet" in first.stdout
    shop.good(COPY)
    figures = shop.folder / "figures.prom"
    known = shop.sh(f"tb-status --json --prometheus {figures} -s {shop.table('orders')}").records
    (taken,) = known[0]["status"]["copied"].values()
    assert taken == known[0]["status"]["uploaded"]
    assert 'three_backup_newest_copy_timestamp_seconds{carrier="postgres/' in figures.read_text()
    assert 'store="vault"} 1' in figures.read_text()
    shop.good(TAKE.format("--incremental"))
    assert "COPIED" in shop.sh("tb-status").stdout
    (behind,) = shop.sh(f"tb-status --json -s {shop.table('orders')}").records
    assert behind["status"]["copied"] == {"vault": taken}
    assert behind["status"]["uploaded"] > taken
    newest = next(key for key in keys(store(shop), "manifests/") if snapshots(shop)[-1] in key)
    shop.good(COPY)
    (there,) = shop.sh(f"tb-status --json -s {shop.table('orders')}").records
    assert there["status"]["copied"] == {"vault": there["status"]["uploaded"]}
    store(shop).delete([newest])
    shop.wipe()
    lost = shop.sh("tb-status")
    assert (lost.status, "store vault has a newer snapshot than S3" in lost.stdout) == (2, True)


def test_a_store_is_looked_at_as_if_it_were_the_only_one(shop: Host, vault: str) -> None:
    with_vault(shop, vault, copy_to="vault")
    shop.good(COPY)
    base, _ = snapshots(shop)
    (increment,) = (key for key in keys(copies(shop, vault), "manifests/") if base not in key)
    copies(shop, vault).delete([increment])
    (alone,) = shop.sh(f"tb-status --json --store vault -s {shop.table('orders')}").records
    (first,) = shop.sh(f"tb-status --json -s {shop.table('orders')}").records
    assert alone["status"]["chain"]["increments"] == 0
    assert first["status"]["chain"]["increments"] == 1
    assert "copied" not in alone["status"]
    assert shop.sh("tb-status --store vault --runs").status == 3
    with_vault(shop, vault, copy_to="vault", vault_endpoint="http://127.0.0.1:1")
    away = shop.sh("tb-status")
    assert (away.status, "store vault: " in away.stdout) == (1, True)
    assert shop.sh("tb-status --store vault").status == 3
