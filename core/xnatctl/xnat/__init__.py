"""What an XNAT server says, and how it is asked: one client, and a module for each thing that it knows.

httpx comes without its own command line: that would draw rich and pygments in and take longer than the rest of an
upload's start.
"""

from __future__ import annotations

import sys

if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # "not to be had": httpx then does without
