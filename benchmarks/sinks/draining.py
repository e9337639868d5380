"""What both sinks share: drinking bodies and data sets, counting what was really in them.

`drain(...)` gives the C library of `drain.c`, compiled at run time, or where there is no compiler the same in Python,
which is slower but counts as truly. Nothing that a client says of its files is believed: UIDs and sizes come from the
bytes that arrived.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

HEAD = 4096
_HERE = Path(__file__).parent


class Record(NamedTuple):
    """One instance that arrived; `size` in bytes."""

    session: int
    study: str
    series: str
    number: str
    instance: str
    size: int


@dataclass
class Session:
    """Where imports were addressed to."""

    project: str
    subject: str
    label: str
    direct: bool
    study: str = ""


@dataclass(frozen=True)
class Counts:
    """What arrived since the last reset; sizes in bytes."""

    requests: int
    body: int
    connections: int
    instances: int
    instance_bytes: int
    unreadable: int
    pdus: int


def drain(*, rate: float = 0, delay: float = 0, close_after: int = 0, python: bool = False) -> Any:
    """A drain. `rate` limits the link (bytes a second, 0 = not at all), `delay` is the server's time for one file (s).

    `close_after`: the connection ends after so many imports, as Tomcat does after 100.
    """
    library = None if python else _compiled()
    if library is not None:
        return CDrain(library, rate, delay, close_after)
    from python_drain import PythonDrain

    return PythonDrain(rate, delay, close_after)


def _compiled() -> Path | None:
    """The library, compiled once for each state of its source."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    source = _HERE / "drain.c"
    target = Path(tempfile.gettempdir()) / f"xnatctl-drain-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    if compiler is None:
        return None
    fresh = target.with_suffix(f".{time.monotonic_ns()}")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(fresh), str(source), "-lz", "-lpthread"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    fresh.replace(target)
    return target


class _CSession(ctypes.Structure):
    _fields_ = [
        ("project", ctypes.c_char * 80), ("subject", ctypes.c_char * 80), ("label", ctypes.c_char * 80),
        ("study", ctypes.c_char * 68), ("direct", ctypes.c_int),
    ]  # fmt: skip


class CDrain:
    """By the library. Its functions let go of the interpreter while they wait."""

    name = "C"

    def __init__(self, library: Path, rate: float, delay: float, close_after: int) -> None:
        self._c = ctypes.CDLL(str(library))
        self._c.conn_new.restype = ctypes.c_void_p
        self._c.sink_session.restype = ctypes.POINTER(_CSession)
        self._c.conn_read.restype = ctypes.c_long
        self._c.sink_listing.restype = ctypes.c_long
        self._c.sink_configure(ctypes.c_double(rate), int(delay * 1e6), close_after)

    def reset(self) -> None:
        self._c.sink_reset()

    def counts(self) -> Counts:
        numbers = (ctypes.c_long * 7)()
        self._c.sink_counts(numbers)
        return Counts(*numbers)

    def sessions(self) -> list[Session]:
        found = [self._c.sink_session(index).contents for index in range(self._c.sink_sessions())]
        return [
            Session(s.project.decode(), s.subject.decode(), s.label.decode(), bool(s.direct), s.study.decode())
            for s in found
        ]

    def records(self) -> list[Record]:
        text = ctypes.create_string_buffer(512 * (self.counts().instances + 1))
        length = self._c.sink_listing(text, ctypes.c_long(len(text)))
        found = []
        for line in ctypes.string_at(text, length).decode().splitlines():
            session, study, series, number, instance, size = line.split("\t")
            found.append(Record(int(session), study, series, number, instance, int(size)))
        return found

    def connection(self, sock: socket.socket) -> _CConnection:
        return _CConnection(self._c, sock)


class _CConnection:
    def __init__(self, library: Any, sock: socket.socket) -> None:
        self._c = library
        self._sock = sock
        self._self = ctypes.c_void_p(library.conn_new(sock.fileno()))
        self._head = ctypes.create_string_buffer(1 << 16)

    def next_head(self) -> bytes:
        """Answers imports by itself; the head of the next other request, b"" at the end."""
        length = self._c.conn_serve(self._self, self._head, len(self._head))
        return ctypes.string_at(self._head, length)

    def read(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = self._c.conn_read(self._self, buffer, ctypes.c_long(size))
        return ctypes.string_at(buffer, length)

    def write(self, data: bytes) -> bool:
        return bool(self._c.conn_write(self._self, data, ctypes.c_long(len(data))))

    def store(self) -> bool:
        """Drink the data sets of a negotiated association; True when it was released."""
        return bool(self._c.store_serve(self._self))

    def close(self) -> None:
        self._c.conn_free(self._self)
        self._sock.close()


def headers_of(head: bytes) -> dict[str, str]:
    """Headers of a request, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
