"""A plan says what a restore would do, and planning changes nothing."""

import pytest

from tests.postgres.restoring import Restoring, beside, in_place, inhabitants, table, view
from tests.postgres.taking import DISABLED, Taking, run
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.base import Planned

SHOP = (
    "CREATE TYPE mood AS ENUM ('good')",
    "CREATE TABLE customer (id int PRIMARY KEY, mood mood)",
    "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customer)",
    "CREATE VIEW big AS SELECT * FROM orders WHERE id > 40",
    "CREATE TABLE secret (id int)",
    "CREATE TABLE young (id int)",
)


@pytest.fixture
def shop(live: PostgresServer, database: str) -> str:
    run(live, database, *SHOP)
    return database


def test_a_plan_names_what_is_made_needed_and_in_the_way(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    taking.settings[table(shop, "secret")] = DISABLED
    chain = [taking.take()]
    run(live, shop, "DROP VIEW big", "CREATE VIEW late AS SELECT * FROM orders")
    before = inhabitants(live, shop)
    copies = [beside(table(shop, name), level2="attic") for name in ("customer", "orders")]
    plans = restoring.plans(
        chain,
        *copies,
        in_place(table(shop, "young")),
        in_place(table(shop, "secret")),
    )
    assert inhabitants(live, shop) == before
    customer, orders = (plans[copy.target] for copy in copies)
    assert isinstance(customer, Planned)
    assert customer.facts["names"] == ["attic.customer", "attic.customer_pkey"]
    assert customer.facts["creates"] == ["schema attic"]
    assert customer.facts["depends_on"] == ["schema public", "type public.mood"]
    assert isinstance(orders, Planned)
    assert "attic.orders_id_seq" in orders.facts["names"]
    errors = [plan for plan in plans.values() if isinstance(plan, BackupError)]
    assert [error.code for error in errors] == ["postgres.target_exists"] * 2
    (alone,) = restoring.plans(chain, beside(view(shop, "big"), level1="elsewhere")).values()
    assert isinstance(alone, BackupError)
    assert "cannot be without table public.orders" in alone.message


def test_what_depends_on_a_table_is_said_before_anything_is_read(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    read: list[int] = []
    orders, customer = (in_place(table(shop, name)) for name in ("orders", "customer"))
    for wanted, dependent in (
        (orders, r"depend on it \(view public\.big\)"),
        (customer, r"depend on it \(table constraint orders_customer_fkey on public\.orders\)"),
    ):
        with pytest.raises(BackupError, match=dependent):
            restoring.one(chain, wanted, overwrite=True, advance=read.append)
        refused = restoring.plans(chain, wanted, overwrite=True, advance=read.append)
        assert isinstance(refused[wanted.target], BackupError)
    assert read == []


def test_a_plan_of_an_overwrite_says_what_is_replaced(
    live: PostgresServer, shop: str, taking: Taking, restoring: Restoring
) -> None:
    chain = [taking.take()]
    (young,) = restoring.plans(chain, in_place(table(shop, "young")), overwrite=True).values()
    assert isinstance(young, Planned)
    assert young.facts["replaces"]
    assert young.facts["bytes_read"] == sum(young.facts["read_from"].values()) > 0
