"""A script tells on which line each statement is, whatever is quoted in it."""

import pytest

from three_backup.errors import UsageError
from three_backup.sources.jobs import SqlFile
from three_backup.sources.postgres.restoring.script import Script

_QUOTED = """\
-- a; \\comment
/* one; /* two; */ \\ */ SELECT 'it''s; \\', E'\\';', "a;\\";
SELECT $$;\\$$, $tag$;$$;$tag$
;
  ;
UPDATE tie'x' SET a$b$c = 1;
"""


def _script(text: str) -> Script:
    return Script(SqlFile("mask.sql", text))


def test_semicolons_and_backslashes_count_outside_of_quotes_only() -> None:
    script = _script(_QUOTED)
    script.check()
    lines = [script.line_of_statement(number) for number in range(4)]
    assert lines == [2, 3, 6, None]


def test_the_line_is_not_told_where_a_body_has_semicolons_of_its_own() -> None:
    body = (
        "CREATE FUNCTION pg_temp.f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\nSELECT 1"
    )
    assert _script(body).line_of_statement(1) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mask.sql: it holds no statement"),
        ("/* open", "mask.sql: it holds no statement"),
        ("SELECT 1;\n  \\set x 1", "mask.sql, line 2: \\set is for psql, which does not run it"),
        ("SELECT 1\0", "mask.sql: it holds a zero byte, and so is no SQL"),
    ],
)
def test_what_is_no_sql_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _script(text).check()
    assert caught.value.message == said
