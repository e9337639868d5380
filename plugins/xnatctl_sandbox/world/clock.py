"""The sandbox's clock: real time plus an offset that a test or a person can move forward.

The idle jobs and session time-outs read this clock only, so "five quiet minutes" need not be waited for.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime


class Clock:
    """Seconds since the epoch, which can be moved forward. Thread-safe."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward; it never goes back."""
        if seconds < 0:
            raise ValueError("The clock of the sandbox only moves forward.")
        with self._lock:
            self._offset += seconds

    def sql(self, stamp: float | None = None) -> str:
        """`yyyy-MM-dd HH:mm:ss.f` with trailing zeros dropped but one digit kept (xnat-import 6.1)."""
        moment = datetime.fromtimestamp(self.now() if stamp is None else stamp)
        fraction = f"{moment.microsecond // 1000:03d}".rstrip("0") or "0"
        return f"{moment:%Y-%m-%d %H:%M:%S}.{fraction}"

    def folder_timestamp(self) -> str:
        """`yyyyMMdd_HHmmssSSS`, the name of a prearchive time folder (xnat-import 4.2)."""
        moment = datetime.fromtimestamp(self.now())
        return f"{moment:%Y%m%d_%H%M%S}{moment.microsecond // 1000:03d}"
