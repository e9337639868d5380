"""The command, killed by its own hand at one journal write: `crash_child.py POINT WHEN COUNT_FILE ARGUMENTS...`.

Every change of a journal goes through `Store.write`, so its calls are all the crash points there are. POINT 0 kills
nothing and leaves the number of writes in COUNT_FILE.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from xnatctl.delivery.journal.store import Store


def main() -> None:
    point, when, count_file = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    real = Store.write
    writes = 0

    lock = threading.Lock()

    def write(self, *statements, **options):
        nonlocal writes
        with lock:
            writes += 1
            number = writes
        if (number, when) == (point, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, *statements, **options)
        if (number, when) == (point, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    Store.write = write
    sys.argv = ["xnatctl", *sys.argv[4:]]
    from xnatctl.__main__ import main as command

    try:
        command()
    finally:
        count_file.write_text(str(writes))


main()
