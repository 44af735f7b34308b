"""The database of the demo: a shop with customers, orders and payments, and a day of trade."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Identifier

from three_backup.errors import BackupError

DATABASE = "shop"
LOST_TABLE = "payments"
SPOILT_TABLE = "products"
WRONG = "UPDATE products SET price = 1 WHERE price > 150"
_ORDERS_AT_ONCE = 5
_BREATH_SECONDS = 0.05

_SCHEMA = """
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text NOT NULL,
    joined date NOT NULL
);
CREATE TABLE products (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    price numeric(8, 2) NOT NULL CHECK (price > 0),
    stock int NOT NULL
);
CREATE TYPE order_status AS ENUM ('open', 'shipped', 'returned');
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer bigint NOT NULL REFERENCES customers,
    placed timestamptz NOT NULL,
    status order_status NOT NULL DEFAULT 'open'
);
CREATE INDEX ON orders (customer);
CREATE TABLE order_lines (
    "order" bigint NOT NULL REFERENCES orders,
    product int NOT NULL REFERENCES products,
    quantity int NOT NULL,
    PRIMARY KEY ("order", product)
);
CREATE TABLE payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "order" bigint NOT NULL REFERENCES orders,
    method text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    paid timestamptz NOT NULL,
    reference uuid NOT NULL DEFAULT gen_random_uuid()
);
CREATE INDEX ON payments (paid);
CREATE UNLOGGED TABLE carts (session uuid PRIMARY KEY, content jsonb NOT NULL);
CREATE VIEW best_sellers AS
    SELECT name, sum(quantity) AS sold FROM order_lines
    JOIN products ON products.id = product GROUP BY name ORDER BY sold DESC LIMIT 10;
CREATE MATERIALIZED VIEW orders_by_day AS
    SELECT placed::date AS day, count(*) AS orders FROM orders GROUP BY day;
"""
_FILL = """
SELECT setseed(0.42);
INSERT INTO customers (name, email, city, joined)
SELECT first || ' ' || last, lower(first || '.' || last || n || '@example.org'), city,
       date '2026-01-01' - n % 2000
FROM (
    SELECT n,
        (ARRAY['Anna','Boris','Chiara','Dmitri','Elena','Farid','Greta','Henrik','Ines','Jonas',
               'Keiko','Lars','Maria','Нина','Olu','Priya','Rosa','Søren','Tariq','Zoë'])
        [1 + n % 20] AS first,
        (ARRAY['Becker','Costa','Dvořák','Eriksen','Fischer','García','Haddad','Ivanova','Jensen',
               'Kowalski','Lind','Moreau','Nguyen','Okafor','Petrov','Rossi','Smith'])
        [1 + n % 17] AS last,
        (ARRAY['Berlin','Lyon','Porto','Gdańsk','Москва','Oslo','Turin','Leeds','Ghent','Graz'])
        [1 + (random() * 9)::int] AS city
    FROM generate_series(1, 20000) AS n
) AS people;
INSERT INTO products (name, price, stock)
SELECT colour || ' ' || thing, 3 + (random() * 200)::numeric(8, 2), 1000
FROM unnest(ARRAY['red','blue','green','striped','plain','tiny','huge','old','new','folding'])
     AS colour,
     unnest(ARRAY['kettle','lamp','chair','umbrella','bicycle bell','notebook','teapot','scarf',
                  'backpack','clock','blanket','bookshelf','frying pan','radio','mirror'])
     AS thing;
INSERT INTO orders (customer, placed, status)
SELECT 1 + floor(random() * 20000), timestamptz '2026-01-01' + n * interval '6 minutes',
       CASE WHEN random() < 0.05 THEN 'returned' ELSE 'shipped' END::order_status
FROM generate_series(1, 50000) AS n;
INSERT INTO order_lines
SELECT id, 1 + (id * 7 + line * 41) % 150, 1 + (id + line) % 4
FROM orders, generate_series(0, 2) AS line WHERE line <= id % 3;
INSERT INTO payments ("order", method, amount, paid)
SELECT id, (ARRAY['card','transfer','invoice'])[1 + id % 3],
       (SELECT sum(quantity * price) FROM order_lines JOIN products ON product = products.id
        WHERE "order" = orders.id),
       placed + interval '2 minutes'
FROM orders;
REFRESH MATERIALIZED VIEW orders_by_day;
ANALYZE;
"""
_TRADE = """
WITH placed AS (
    INSERT INTO orders (customer, placed)
    SELECT 1 + floor(random() * 20000), now() FROM generate_series(1, 5) RETURNING id
), bought AS (
    INSERT INTO order_lines SELECT id, 1 + id % 150, 1 FROM placed RETURNING product
), paid AS (
    INSERT INTO payments ("order", method, amount, paid)
    SELECT placed.id, 'card', price, now() FROM placed
    JOIN products ON products.id = 1 + placed.id % 150
)
UPDATE products SET stock = stock - 1 WHERE id IN (SELECT product FROM bought)
"""
_ROWS = """
SELECT sum(reltuples) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples > 0
"""
_SIZE = "SELECT pg_database_size(current_database())"
_CONTENTS = """
SELECT count(*), coalesce(md5(string_agg(md5(t::text), '' ORDER BY id)), '') FROM {} AS t
"""


@dataclass(frozen=True, slots=True)
class TableContents:
    """What a table holds: its rows and a hash over all of them."""

    rows: int
    digest: str


def fill(conninfo: str) -> int:
    """Make and fill the tables of an empty database; return the number of rows."""
    with _connected(conninfo) as connection:
        connection.execute(_SCHEMA)
        connection.execute(_FILL)
        (rows,) = connection.execute(_ROWS).fetchone() or (0,)
    return int(rows)


def size(conninfo: str) -> int:
    """Bytes of the database at the source."""
    with _connected(conninfo) as connection:
        (found,) = connection.execute(_SIZE).fetchone() or (0,)
    return int(found)


def create(conninfo: str) -> None:
    """Make the database. conninfo: of any other database of the server."""
    with _connected(conninfo) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(DATABASE)))


def trade(conninfo: str, until: Callable[[], bool]) -> int:
    """Let customers buy and pay until until() is true; return the number of orders."""
    orders = 0
    with _connected(conninfo) as connection:
        while not until():
            connection.execute(_TRADE)
            orders += _ORDERS_AT_ONCE
            time.sleep(_BREATH_SECONDS)
    return orders


def contents(conninfo: str, table: str) -> TableContents:
    with _connected(conninfo) as connection:
        query = SQL(_CONTENTS).format(Identifier(table))
        rows, digest = connection.execute(query).fetchone() or (0, "")
    return TableContents(rows, digest)


def execute(conninfo: str, script: str) -> None:
    """Run statements as psql does."""
    with _connected(conninfo) as connection:
        connection.execute(script.encode())


def drop(conninfo: str, table: str) -> None:
    with _connected(conninfo) as connection:
        connection.execute(SQL("DROP TABLE {}").format(Identifier(table)))


@contextmanager
def _connected(conninfo: str) -> Iterator[psycopg.Connection]:
    """Open a connection that commits every statement; turn its errors into BackupError."""
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            yield connection
    except psycopg.Error as error:
        raise BackupError("demo.shop", f"database {DATABASE}: {error}".rstrip()) from error
