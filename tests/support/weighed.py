"""The command, which leaves its peak memory in KiB behind: `weighed.py FILE ARGUMENTS...`."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main() -> None:
    """Run, and weigh at the end."""
    file = Path(sys.argv[1])
    sys.argv = ["xnatctl", *sys.argv[2:]]
    # pydicom imports requests where it is installed. Only the clients that the tests use bring it along.
    sys.modules["requests"] = None  # type: ignore[assignment]
    from xnatctl.cli.main import main as command

    try:
        command()
    finally:
        # The kernel's own peak of this program; ru_maxrss would count what it was before exec.
        peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        assert peak is not None
        file.write_text(peak.group(1))


if __name__ == "__main__":
    main()
