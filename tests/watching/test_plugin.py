"""What a plugin of Nagios prints: one line with figures, then what else is wrong."""

from dataclasses import replace

from tests.watching.page.scene import NOW, STANDING
from three_backup.watching import plugin
from three_backup.watching.health import Level

LAST = STANDING.last


def figures(first: str) -> dict[str, str]:
    return dict(each.removesuffix(";;;0").split("=") for each in first.partition(" | ")[2].split())


def test_ages_are_those_of_the_worst_of_all_that_is_to_be_backed_up() -> None:
    expected = [each for each in STANDING.watched if not each.gone and not each.disabled]
    newest = [each.health.chain.newest for each in expected if each.health.chain]
    proved = [max(each.proved.values()) for each in expected if each.proved]
    found = figures(plugin.output("OK - fine", [], STANDING.watched, LAST, NOW))
    assert found["snapshot_age"] == f"{int((NOW - min(newest)).total_seconds())}s"
    assert found["drill_age"] == f"{int((NOW - min(proved)).total_seconds())}s"
    assert found["wal_age"] == "240s"
    assert found["critical"] == str(sum(each.health.level is Level.CRITICAL for each in expected))
    gone = [replace(each, gone=True) for each in STANDING.watched]
    assert set(figures(plugin.output("OK - fine", [], gone, None, NOW)).values()) == {"0"}


def test_no_name_and_no_error_breaks_the_line_or_passes_for_figures() -> None:
    bad = "clickhouse/table/default/shop/a|b=1: it said\nno"
    plain = "clickhouse/table/default/shop/a/b=1: it said no"
    first = plugin.headline(Level.WARNING, [], [bad], NOW)
    assert first == f"WARNING - {plain}"
    printed = plugin.output(first, [bad, bad], [], None, NOW)
    assert printed.splitlines()[1:] == [plain]
    assert printed.count("|") == 1


def test_more_than_an_agent_passes_on_is_counted() -> None:
    printed = plugin.output("WARNING - w0", [f"w{each}" for each in range(25)], [], None, NOW)
    _, *lines = printed.splitlines()
    assert lines == [*(f"w{each}" for each in range(1, 21)), "and 4 more, which tb-status names"]
