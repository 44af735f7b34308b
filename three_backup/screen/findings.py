"""Findings of a check as people read them."""

from three_backup.model.findings import Finding, Mark
from three_backup.screen import formats
from three_backup.screen.terminal import Colour, Screen, painted

_COLOURS = {Mark.GOOD: Colour.GREEN, Mark.NOTE: Colour.YELLOW, Mark.BAD: Colour.RED}
_USUAL_WIDTH = 78
_MARGIN = " " * 8
"""As wide as a mark and the blanks around it."""


def finding_text(finding: Finding, screen: Screen) -> str:
    """Return the lines of a finding: its mark, what was seen, and the remedy."""
    width = screen.width or _USUAL_WIDTH
    mark = painted(f"{finding.mark:<4}", _COLOURS[finding.mark], coloured=screen.coloured)
    said = formats.wrapped(f"{finding.subject}: {finding.sentence}", width, _MARGIN)
    text = f"  {mark}  {said.removeprefix(_MARGIN)}\n"
    if finding.remedy:
        text += f"{formats.wrapped(f'-> {finding.remedy}', width, _MARGIN, '   ')}\n"
    return text
