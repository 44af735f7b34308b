"""How often Python looks for garbage that holds itself."""

import gc

_OBJECTS = 20_000


def collect_less_often() -> None:
    """It looks after each 700 new objects: a tenth of what a tool costs, where modules, records
    and files come by the ten thousand and hardly ever make a cycle."""
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
