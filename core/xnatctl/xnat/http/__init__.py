"""The HTTP path to one XNAT server: client, login, retry, connection pool, connections, sockets.

httpx is loaded without its command line, which would load rich and pygments and would take longer than the rest of an
upload's start.
"""

from __future__ import annotations

import sys

if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # an import of it fails; httpx then works without it
