"""What a selector that matches nothing may have been meant to say."""

import pytest

from three_backup.model.nearest import in_words, nearest
from three_backup.model.objects import matches

IDS = [
    "clickhouse/table/default/visits/hits",
    "lxd/container/default/default/web1",
    *(
        f"postgres/{subtype}/{database}/public/{name}"
        for subtype in ("table", "view")
        for database in ("crm", "shop")
        for name in ("customers", "order_lines", "orders")
    ),
]


@pytest.mark.parametrize(
    ("pattern", "first"),
    [
        ("orders", "postgres/table/crm/public/orders"),
        ("ORDERS", "postgres/table/crm/public/orders"),
        ("oders", "postgres/table/crm/public/orders"),
        ("public.orders", "postgres/table/crm/public/orders"),
        ("shop.public.orders", "postgres/table/shop/public/orders"),
        ("shop/public/orders", "postgres/table/shop/public/orders"),
        ("hit*", "clickhouse/table/default/visits/hits"),
        ("shop", "postgres/table/shop"),
        ("shpo", "postgres/table/shop"),
        ("postgers", "postgres"),
        ("postgers/table/shop", "postgres/table/shop"),
        ("Postgres/Table/Shop/", "postgres/table/shop"),
        ("postgres/table/shpo/*", "postgres/table/shop/*"),
        ("postgres/*/shpo/*", "postgres/*/shop/*"),
        ("postgres/table/shop/public/order", "postgres/table/shop/public/orders"),
        ("clickhouse/table/visits/hits", "clickhouse/table/default/visits/hits"),
        ("lxd/web1", "lxd/container/default/default/web1"),
        ("*/hist", "clickhouse/table/default/visits/hits"),
    ],
)
def test_a_slip_comes_nearest_to_what_was_meant(pattern: str, first: str) -> None:
    found = nearest(pattern, IDS)
    assert found[0] == first
    assert all(any(matches(guess, one) for one in IDS) for guess in found)


@pytest.mark.parametrize("pattern", ["", "*", "/", "payroll", "mysql/table/x/y/z", "[", "a" * 300])
def test_what_resembles_nothing_has_no_guess(pattern: str) -> None:
    assert nearest(pattern, [*IDS[:2], IDS[-1]]) == []
    assert nearest(pattern, []) == []


def test_a_name_at_the_end_of_an_id_goes_before_one_that_is_only_alike() -> None:
    ids = ["postgres/table/a/b/order", "postgres/table/a/b/orders", "postgres/table/orders/b/c"]
    assert nearest("orders", ids) == ["postgres/table/a/b/orders"]


def test_at_most_three_are_named_and_the_others_counted() -> None:
    assert in_words([]) == ""
    assert in_words(["a"]) == "did you mean a?"
    assert in_words(["a", "b"]) == "the nearest are a, b"
    assert in_words(["a", "b", "c", "d", "e"]) == "the nearest are a, b, c and 2 more"
