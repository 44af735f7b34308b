"""A database with every kind of table and view that users make."""

DATABASE = "zoo"
TABLESPACE = "zoo_space"

STATEMENTS = (
    "CREATE SCHEMA app",
    "CREATE SCHEMA types",
    "CREATE EXTENSION hstore SCHEMA types",
    "CREATE EXTENSION citext SCHEMA public",
    "CREATE TYPE types.mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE DOMAIN types.positive AS int CHECK (VALUE > 0)",
    "CREATE TYPE types.pair AS (a int, b types.mood)",
    "CREATE TYPE types.span AS RANGE (subtype = float8)",
    """CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN NEW.touched := 'touched'; RETURN NEW; END $$""",
    """CREATE FUNCTION app.twice(x int) RETURNS int LANGUAGE sql IMMUTABLE
       RETURN x * 2""",
    "CREATE SEQUENCE app.shared START 1000",
    """CREATE TABLE app.rich (
         id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
         number serial UNIQUE,
         ticket int DEFAULT nextval('app.shared'),
         mood types.mood, moods types.mood[], size types.positive, pair types.pair,
         span types.span, tags types.hstore, name public.citext UNIQUE,
         doubled int GENERATED ALWAYS AS (app.twice(number)) STORED,
         payload text, binary_payload bytea, at timestamptz, lasts interval, price money,
         document jsonb, numbers numeric[], touched text, EXCLUDE USING gist (span WITH &&))""",
    "COMMENT ON TABLE app.rich IS 'it''s rich'",
    "COMMENT ON COLUMN app.rich.payload IS 'large'",
    "CREATE INDEX rich_payload ON app.rich (left(payload, 10))",
    "CREATE STATISTICS app.rich_stats ON mood, ticket FROM app.rich",
    """CREATE TRIGGER rich_stamp BEFORE UPDATE ON app.rich
       FOR EACH ROW EXECUTE FUNCTION app.stamp()""",
    """INSERT INTO app.rich (mood, moods, size, pair, span, tags, name, payload, binary_payload,
                              at, lasts, price, document, numbers)
       SELECT (ARRAY['sad', 'ok', 'happy'])[i % 3 + 1]::types.mood,
              ARRAY['ok', NULL]::types.mood[], i, ROW(i, 'sad')::types.pair,
              types.span(i, i + 0.5), types.hstore('k', i::text), 'Name' || i,
              CASE WHEN i % 10 = 0 THEN (SELECT string_agg(md5(i::text || g), '')
                                           FROM generate_series(1, 5000) g)
                   ELSE E'tab\\there\\nline \\\\ ' || i END,
              decode(repeat('00ff', i), 'hex'),
              '2026-01-01 00:00+03'::timestamptz + i * interval '1 day',
              '1 month 3 days 04:05:06', i::money, jsonb_build_object('i', i),
              ARRAY[i, 1.5, NULL, 'NaN']::numeric[]
         FROM generate_series(1, 100) i""",
    "CREATE TABLE app.parent (id int PRIMARY KEY, note text)",
    "CREATE TABLE app.heir (extra text) INHERITS (app.parent)",
    "INSERT INTO app.parent SELECT i, 'parent' FROM generate_series(1, 10) i",
    "INSERT INTO app.heir SELECT i, 'heir', 'x' FROM generate_series(11, 15) i",
    "CREATE TABLE app.customer (id int PRIMARY KEY, name text)",
    """CREATE TABLE app.orders (
         id int PRIMARY KEY, customer int REFERENCES app.customer, before int
         REFERENCES app.orders DEFERRABLE INITIALLY DEFERRED)""",
    "COMMENT ON CONSTRAINT orders_customer_fkey ON app.orders IS 'who'",
    "INSERT INTO app.customer SELECT i, 'c' || i FROM generate_series(1, 20) i",
    """INSERT INTO app.orders SELECT i, i % 20 + 1, nullif(i - 1, 0)
                                FROM generate_series(1, 50) i""",
    "CREATE TABLE app.events (at date, what text, PRIMARY KEY (at, what)) PARTITION BY RANGE (at)",
    """CREATE TABLE app.events_2025 PARTITION OF app.events
       FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')""",
    """CREATE TABLE app.events_2026 PARTITION OF app.events
       FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (what)""",
    "CREATE TABLE app.events_2026_a PARTITION OF app.events_2026 FOR VALUES IN ('a')",
    "CREATE TABLE app.rest PARTITION OF app.events_2026 DEFAULT",
    "CREATE INDEX ON app.events (what)",
    """INSERT INTO app.events SELECT '2025-06-01'::date + i * 5, chr(97 + i % 3)
       FROM generate_series(0, 99) i""",
    "CREATE TABLE app.secret (id int, owner text)",
    "ALTER TABLE app.secret ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE app.secret FORCE ROW LEVEL SECURITY",
    "CREATE POLICY mine ON app.secret USING (owner = current_user)",
    "INSERT INTO app.secret SELECT i, 'nobody' FROM generate_series(1, 7) i",
    "CREATE UNLOGGED TABLE app.fleeting (id serial PRIMARY KEY)",
    "INSERT INTO app.fleeting SELECT FROM generate_series(1, 5)",
    f"CREATE TABLE app.elsewhere (id int PRIMARY KEY, t text) TABLESPACE {TABLESPACE}",
    "INSERT INTO app.elsewhere SELECT i, repeat('e', i) FROM generate_series(1, 200) i",
    "CREATE TABLE app.nothing ()",
    "INSERT INTO app.nothing DEFAULT VALUES",
    "CREATE VIEW app.happy AS SELECT id, name FROM app.rich WHERE mood = 'happy'",
    "CREATE VIEW app.happier AS SELECT id FROM app.happy",
    """CREATE MATERIALIZED VIEW app.counted AS
       SELECT mood, count(*) AS many, string_agg(payload, '') AS everything
         FROM app.rich GROUP BY mood""",
    "CREATE UNIQUE INDEX counted_mood ON app.counted (mood)",
    "CREATE MATERIALIZED VIEW app.later AS SELECT 1 AS one WITH NO DATA",
)
CHANGES = (
    "UPDATE app.rich SET payload = payload || '!' WHERE id % 2 = 0",
    "DELETE FROM app.rich WHERE id = 3",
    "VACUUM FULL app.customer",
    "INSERT INTO app.events VALUES ('2026-02-02', 'new')",
    "ALTER TABLE app.elsewhere SET TABLESPACE pg_default",
    "UPDATE app.parent SET note = 'changed' WHERE id = 12",
    "REFRESH MATERIALIZED VIEW app.counted",
)
MORE_CHANGES = (
    "ALTER TYPE types.mood ADD VALUE 'delighted'",
    "UPDATE app.rich SET mood = 'delighted' WHERE id = 5",
    "TRUNCATE app.secret",
    "INSERT INTO app.secret VALUES (1, 'me')",
    f"ALTER TABLE app.elsewhere SET TABLESPACE {TABLESPACE}",
    "CREATE TABLE app.young AS SELECT i FROM generate_series(1, 100) i",
    "REINDEX TABLE app.rich",
    "SELECT nextval('app.shared') FROM generate_series(1, 5)",
)
TABLES = (
    "rich",
    "parent",
    "heir",
    "customer",
    "orders",
    "events",
    "events_2025",
    "events_2026",
    "secret",
    "fleeting",
    "elsewhere",
    "nothing",
    "young",
)
VIEWS = ("happy", "happier", "counted", "later")
ODD_NAMES = (
    'quo"te',
    "apo'strophe",
    "sl/ash",
    "per%cent%s",
    "st*r",
    "bl ank ",
    "d.o.t",
    "Таблица",
    "ы" * 31,
    "x" * 63,
    "..",
    "back\\slash",
    "Select",
    "$1",
)
