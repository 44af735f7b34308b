"""A fixture: a host with the lab's LXD, where the tools run as an administrator runs them."""

import os
import shutil
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.lab.forked import Forked
from tests.lab.lab import Lab
from tests.lab.words import Words
from tests.pipeline.conftest import Host, Outcome
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_NUMBERS = count(1)


class LxdHost(Host):
    """A host of the lab: what tests say of LXD reaches the lab's daemon in its own words."""

    words: Words

    def sh(
        self, command: str, stdin: str = "", environ: Mapping[str, str] | None = None
    ) -> Outcome:
        done = super().sh(self.words.own(command), stdin, environ)
        common = self.words.common
        return Outcome(done.status, common(done.stdout), common(done.stderr))

    def tool(self, *argv: str, stdin: str = "") -> Outcome:
        done = super().tool(*map(self.words.own, argv), stdin=stdin)
        common = self.words.common
        return Outcome(done.status, common(done.stdout), common(done.stderr))


@pytest.fixture(scope="module")
def host(
    server_folder: Path,
    lab: Lab,
    postgres17: PostgresServer,
    seaweed: SeaweedServer,
    tools: Forked,
) -> Iterator[Host]:
    """A host for one module, with LXD as its only source. Each module finds LXD as first built."""
    bucket = f"lxd-{next(_NUMBERS)}"
    seaweed.create_bucket(bucket)
    folder = server_folder / bucket
    folder.mkdir(mode=0o711)
    host = LxdHost(folder, "postgres", postgres17, seaweed, bucket, tools)
    host.words = lab.words
    path = host.environ["PATH"].split(os.pathsep)
    path.remove(str(postgres17.bindir))
    host.environ["PATH"] = os.pathsep.join((str(lab.bindir), *path))
    yield host
    seaweed.delete_bucket(bucket)
    shutil.rmtree(folder)
    lab.rewind()
