"""A command that a person watches at a terminal: what the screen shows at each moment."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading

import pytest
from screen import Screen

try:
    import fcntl
    import pty
    import termios
except ImportError:
    pty = None  # type: ignore[assignment]


class Seen:
    """A command whose stderr is a pseudo-terminal; `until` waits until the screen shows something."""

    def __init__(self, *command, env, cwd, lines=24, columns=80):
        if pty is None:
            pytest.skip("the system has no pseudo-terminals in the standard library")
        self._changed = threading.Condition()
        self._screen, self._ended = Screen(), False
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        mine = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "FORCE_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xnatctl", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
            env={**mine, "TERM": "xterm-256color", "NO_COLOR": "1", **env},
            cwd=cwd,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while True:
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # Linux ends a pseudo-terminal this way
                piece = b""
            with self._changed:
                self._ended = self._ended or not piece
                self._screen.feed(piece.decode())
                self._changed.notify_all()
                if not piece:
                    return

    def until(self, *words):
        """The lines as soon as all of the words are there at once."""
        with self._changed:
            while not all(word in "\n".join(self._screen.lines) for word in words):
                assert not self._ended, (words, self._screen.lines, self.process.stdout.read())
                self._changed.wait()
            return self._screen.lines

    def close(self):
        """End it, however far it is; returns what it printed on stdout."""
        if self.process.stdout.closed:
            return b""
        with self.process.stdout as stdout:
            out = stdout.read()
        self.process.wait()
        self._reader.join()
        os.close(self._master)
        return out

    def end(self):
        """What is left on the screen."""
        out = self.close()
        assert self.process.returncode == 0, (self._screen.lines, out)
        assert not self._screen.hidden, "the cursor is back"
        assert "m" not in self._screen.codes, "NO_COLOR"
        return self._screen.lines
