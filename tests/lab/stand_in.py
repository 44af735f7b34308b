"""Run a program in the lab's machine as if it were on this host.

    stand_in.py SSH_CONFIG CALLS PROGRAM [ARGUMENT ...]

The command line is appended to the file CALLS, as JSON. The variable LAB_USER names the user in
the machine; by default root.
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
