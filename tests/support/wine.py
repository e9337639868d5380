"""Whether the tests run under Wine, which does not do everything that Windows does."""

from __future__ import annotations

import sys


def is_wine() -> bool:
    """True for CPython for Windows under Wine."""
    if sys.platform != "win32":
        return False
    import ctypes

    return hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
