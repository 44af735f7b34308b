"""A program of the lab's machine, run as if it were one of this host.

    stand_in.py SSH_CONFIG CALLS PROGRAM [ARGUMENT ...]

Appends its command line to the file CALLS, as JSON. LAB_USER: who it is there, else root.
"""

import json
import os
import shlex
import sys

config, calls, *argv = sys.argv[1:]
with open(calls, "a") as log:  # noqa: PTH123 - it starts hundreds of times
    log.write(json.dumps(argv) + "\n")
user = os.environ.get("LAB_USER")
if user:
    argv = ["runuser", "-u", user, "--", *argv]
os.execvp("ssh", ["ssh", "-F", config, "lab", shlex.join(argv)])  # noqa: S606
