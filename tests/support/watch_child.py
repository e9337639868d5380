"""The command, in which something happens between the proof and a removal: `watch_child.py WHAT WHEN ARGUMENTS...`.

WHAT is `kill` (this process, by SIGKILL) or the path of a file, to which another program adds a byte. WHEN counts the
files that were removed before.
"""

from __future__ import annotations

import os
import signal
import sys

from xnatctl_campaign.watch.removal import Remover


def main() -> None:
    """Patch, and run."""
    what, when = sys.argv[1], int(sys.argv[2])
    real, removed = Remover.remove, 0

    def remove(self, item, digest):
        nonlocal removed
        if removed == when and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif removed == when:
            with open(what, "ab") as file:
                file.write(b"\0")
        removed += 1
        return real(self, item, digest)

    Remover.remove = remove
    sys.argv = ["xnatctl", *sys.argv[3:]]
    from xnatctl.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
