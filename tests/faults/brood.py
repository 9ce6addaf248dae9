"""A role that is born again each time it is killed, as a supervisor would do it, and at once.

Started by `tests.faults.test_killed_dispatch` in place of the command line. The modules are loaded once, and each
life is forked from there: so hundreds of lives take minutes. It writes each life's number and process id.
"""

from __future__ import annotations

import os
import sys

from consumers.main import main

if __name__ == "__main__":
    role = sys.argv[1]
    life = 0
    while True:
        life += 1
        pid = os.fork()
        if not pid:
            sys.exit(main([role]))
        sys.stdout.write(f"{life} {pid}\n")
        sys.stdout.flush()
        os.waitpid(pid, 0)
