"""SQL before a restore is for the sources that can run it."""

import pytest

from three_backup.model.objects import ObjectId
from three_backup.restoring.sql_file import why_no_sql


@pytest.mark.parametrize("name", ["clickhouse/table/default/shop/hits", "lxd/container/a/b/web"])
def test_what_cannot_run_it_is_refused_by_name(name: str) -> None:
    error = why_no_sql(ObjectId.parse(name))
    assert error is not None
    assert error.message == f"{name}: --sql-before runs for tables of PostgreSQL only"


def test_a_table_of_postgresql_takes_it() -> None:
    assert why_no_sql(ObjectId.parse("postgres/table/shop/public/orders")) is None
