"""The tools of this checkout, configured for one S3 server and for the servers to back up."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.bench.measure import Cost, measure

CHECKOUT = Path(__file__).parents[2]
BUCKET = "bench"


class S3Server(Protocol):
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str: ...


class Tools:
    """Write a configuration to the folder, and run the tools with it.

    servers: pids whose CPU counts; environ: lets the tools find the servers; options: further
    options of the configuration.
    """

    def __init__(
        self,
        folder: Path,
        s3: S3Server,
        servers: Sequence[int],
        environ: Mapping[str, str],
        **options: object,
    ) -> None:
        self.local = folder / "local"
        self.endpoint = s3.endpoint
        self._servers = servers
        config = folder / "three_backup.yaml"
        config.touch(mode=0o600)
        written = {
            "s3_endpoint": s3.endpoint,
            "s3_bucket": BUCKET,
            "s3_access_key": s3.access_key,
            "s3_secret_key": s3.secret_key,
            "local_dir": self.local,
            **options,
        }
        lines = [f"    {name}: {value}" for name, value in written.items()]
        config.write_text('- "*":\n' + "\n".join(lines) + "\n")
        path = environ.get("PATH", os.environ["PATH"])
        programs = (CHECKOUT / "bin", Path(sys.executable).parent, path)
        self.environ = {
            **environ,
            "HOME": str(folder),
            "PATH": os.pathsep.join(map(str, programs)),
            "PYTHONPATH": str(CHECKOUT),
            "THREE_BACKUP_CONFIG": str(config),
        }

    def cost(self, line: str, stdin: Path | None = None) -> Cost:
        return measure(line, self.environ, self._servers, stdin)
