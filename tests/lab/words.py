"""Lets the tests on LXD run on Incus: they speak of LXD, and their words are translated.

Incus began as a fork of LXD, so nearly all of its words are the same.
"""

import re
from collections.abc import Sequence

_Rules = Sequence[tuple[str, str]]
_TO_INCUS: _Rules = (
    (r"\blxc (storage volume )?snapshot ", r"incus \1snapshot create "),
    (r"\blxc restore ", "incus snapshot restore "),
    (r"\blxc delete ([^\s/]+)/(\S+)", r"incus snapshot delete \1 \2"),
    (r"\blxd (sql|init|waitready)\b", r"incus admin \1"),
    (r"\btank/secret\b", "tank/secret-incus"),
    (r"\blx[cd]\b", "incus"),
    (r"\bLXD\b", "Incus"),
)
_FROM_INCUS: _Rules = (
    (r"\bincus snapshot restore\b", "lxc restore"),
    (r"\bincus(?= (?:config|profile|project|start|stop|storage)\b)", "lxc"),
    (r"\btank/secret-incus\b", "tank/secret"),
    (r"\bincus-admin\b", "lxd"),
    (r"\bincus\b", "lxd"),
    (r"\bIncus\b", "LXD"),
)


class Words:
    """The words of one daemon: `lxd`, or `incus`."""

    def __init__(self, daemon: str) -> None:
        self.daemon = daemon
        self.client = {"lxd": "lxc"}.get(daemon, daemon)
        self._translated = daemon == "incus"

    def own(self, text: str) -> str:
        """Return what a test says, as the daemon has it."""
        return _replaced(text, _TO_INCUS) if self._translated else text

    def common(self, text: str) -> str:
        """Return what the daemon or a tool says, as the tests have it."""
        return _replaced(text, _FROM_INCUS) if self._translated else text


def _replaced(text: str, rules: _Rules) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text
