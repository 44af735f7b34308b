"""A fixture that loads a configuration from a text."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from three_backup.config import Configuration, load

Configure = Callable[[str], Configuration]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """A function that writes a configuration readable only by its owner, and loads it."""

    def written(text: str) -> Configuration:
        path = tmp_path / "three_backup.yaml"
        path.write_text(dedent(text))
        path.chmod(0o600)
        return load(path, {})

    return written
