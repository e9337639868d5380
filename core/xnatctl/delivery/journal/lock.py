"""Locks that keep two runs from working on the same destination."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xnatctl.delivery.journal.reading import is_busy
from xnatctl.delivery.journal.schema import explained, refuse_no_file
from xnatctl.errors import Refused
from xnatctl.model.words import human_duration
from xnatctl.operating_system.private import create_private


class Lock:
    """An exclusive lock on a destination: a database that stays locked while this process lives.

    A lock of SQLite ends with its process on every system, however the process ends.
    """

    def __init__(self, path: Path, wait: Callable[[float], bool], *, limit: float, tell: Callable[[str], None]) -> None:
        """Acquire the lock within `limit` seconds; `wait(seconds)` returns False to give up.

        Raises Refused if the other run takes longer.
        """
        with explained(path):
            with suppress(FileExistsError):
                os.close(create_private(path))
            refuse_no_file(path)
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._path = path
        waited = 0.0
        while not self._taken():
            if waited == 0:
                tell(
                    f"Another run is uploading to the same destination; waiting for it, up to {human_duration(limit)}."
                )
            if waited >= limit or not self._waits(wait):
                self._db.close()
                raise Refused(
                    "Another run is still uploading to the same destination.",
                    hint="Let it finish or stop it, then run this command again. --lock-wait says how long to wait.",
                )
            waited += 0.25

    def _waits(self, wait: Callable[[float], bool]) -> bool:
        try:
            return wait(0.25)
        except BaseException:
            self._db.close()
            raise

    def _taken(self) -> bool:
        with explained(self._path):
            try:
                self._db.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                if is_busy(error):
                    return False
                self._db.close()
                raise
        return True

    def close(self) -> None:
        """Release the lock; never raises."""
        with suppress(sqlite3.Error):
            self._db.close()
