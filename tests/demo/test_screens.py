"""The README shows what the tools print."""

from tests.screens import printed, screens, without_figures


def test_the_screens_of_the_readme_are_those_of_today() -> None:
    assert without_figures(printed()) == without_figures(screens())
