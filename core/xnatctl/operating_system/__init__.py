"""The only place that knows operating systems: what POSIX and Windows do differently, behind one interface.

Each module holds one subject. Nothing else in core or in our plugins uses names that one of the systems lacks
(`tests/architecture/test_operating_systems.py`). The modules import the standard library only.
"""

from __future__ import annotations

import sys
from typing import Final

#: True on Windows, where directories of a user lie elsewhere.
IS_WINDOWS: Final[bool] = sys.platform == "win32"
