"""Shows names that anybody may have given to files."""

from three_backup.errors import readable


def plain(text: str) -> str:
    """Percent-encode what a terminal would obey, and what is not UTF-8."""
    return "".join(one if one.isprintable() else _percent(one) for one in readable(text))


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
