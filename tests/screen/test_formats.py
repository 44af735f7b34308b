"""Tables fit the lines that they are written for."""

from three_backup.screen.formats import table

ROWS = (("OBJECT", "WHY"), ("postgres/cluster/7", "no base snapshot since the first of November"))


def test_a_table_without_a_limit_is_as_wide_as_its_cells() -> None:
    assert table(ROWS).splitlines()[1] == "  ".join(ROWS[1])


def test_a_sentence_in_the_last_column_is_wrapped_and_nothing_of_it_is_lost() -> None:
    lines = table(ROWS, width=50, wraps=True).splitlines()
    assert max(map(len, lines)) <= 50
    assert lines[1].startswith("postgres/cluster/7  no base")
    assert lines[2].startswith(" " * 20)
    assert " ".join(" ".join(lines[1:]).split()[1:]) == ROWS[1][1]


def test_a_sentence_keeps_room_where_other_columns_are_wide() -> None:
    rows = (("OBJECT", "WHY"), ("postgres/cluster/" + "7" * 100, ROWS[1][1]))
    lines = table(rows, width=60, wraps=True).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[1].index("no base") == 32


def test_every_line_of_a_wrapped_row_is_painted() -> None:
    painted = table(ROWS, width=40, wraps=True, paint=lambda row, line: f"{row}{line}")
    assert [line[0] for line in painted.splitlines()] == ["0", "1", "1"]


def test_a_wide_table_is_cut_in_its_widest_column() -> None:
    lines = table((("a" * 90, "kind"), ("b", "table")), width=40).splitlines()
    assert [len(line) for line in lines] == [39, 40]
    assert "…" in lines[0]
