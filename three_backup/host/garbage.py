"""How often Python looks for reference cycles."""

import gc

_OBJECTS = 20_000


def collect_less_often() -> None:
    """Collect after each _OBJECTS new objects; by default Python does so after each 700.

    That is a tenth of what a tool costs: it makes modules, records and files by the ten thousand,
    and hardly ever a cycle.
    """
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
