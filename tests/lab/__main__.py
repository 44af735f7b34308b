"""Build the LXD lab if it is not there yet: python -m tests.lab [--packages]

--packages only prints which of Debian's packages are missing. Where the lab cannot be built, the
program prints why and exits with 69.
"""

import os
import signal
import sys

from tests.lab import cache
from three_backup.errors import BackupError, Exit


def main() -> int:
    if "--packages" in sys.argv:
        print(*cache.missing_packages())
        return Exit.OK
    if cache.ready():
        return Exit.OK
    if obstacle := cache.obstacle():
        print(obstacle)
        return Exit.UNREACHABLE
    print("building the LXD lab, about 10 minutes, once", file=sys.stderr)
    os.umask(0o022)  # other users inside the lab's machine read its files
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cache.build()
    except BackupError as error:
        print(error, file=sys.stderr)
        return Exit.FAILED
    return Exit.OK


if __name__ == "__main__":
    raise SystemExit(main())
