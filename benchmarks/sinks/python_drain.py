"""The drain of `drain.c` in Python: slower, and as true."""

from __future__ import annotations

import socket
import struct
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

from draining import HEAD, Counts, Record, Session, headers_of


class PythonDrain:
    """The same without a compiler."""

    name = "Python"

    def __init__(self, rate: float, delay: float, close_after: int) -> None:
        self.rate, self.delay, self.close_after = rate, delay, close_after
        self._lock = threading.Lock()
        self._due = 0.0
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._records: list[Record] = []
            self._sessions: list[Session] = []
            self._requests = self._body = self._connections = self._unreadable = self._pdus = 0

    def counts(self) -> Counts:
        with self._lock:
            size = sum(record.size for record in self._records)
            return Counts(
                self._requests, self._body, self._connections, len(self._records), size, self._unreadable, self._pdus
            )

    def sessions(self) -> list[Session]:
        with self._lock:
            return list(self._sessions)

    def records(self) -> list[Record]:
        with self._lock:
            return list(self._records)

    def connection(self, sock: socket.socket) -> _PythonConnection:
        with self._lock:
            self._connections += 1
        return _PythonConnection(self, sock)

    def throttle(self, size: int) -> None:
        """Take as long as the link would."""
        if not self.rate:
            return
        with self._lock:
            self._due = max(self._due, time.monotonic()) + size / self.rate
            wait = self._due - time.monotonic()
        if wait > 0.0005:
            time.sleep(wait)

    def session_for(self, query: dict[str, str]) -> int:
        project = query.get("PROJECT_ID") or query.get("project", "")
        if not project and "projects" in query.get("dest", ""):
            project = query["dest"].split("projects/")[1].split("/")[0]
        session = Session(
            project=project,
            subject=query.get("SUBJECT_ID") or query.get("subject", ""),
            label=query.get("EXPT_LABEL") or query.get("session", ""),
            direct=query.get("Direct-Archive") == "true",
        )
        with self._lock:
            for index, known in enumerate(self._sessions):
                if (known.project, known.label) == (session.project, session.label):
                    return index
            self._sessions.append(session)
            return len(self._sessions) - 1

    def note(self, session: int, head: bytes, size: int) -> bool:
        found = _planning(head)
        with self._lock:
            if found is None:
                self._unreadable += 1
                return False
            study, series, number, instance = found
            self._sessions[session].study = self._sessions[session].study or study
            self._records.append(Record(session, study, series, number, instance, size))
            return True

    def stored(self, instance: str, size: int) -> None:
        with self._lock:
            self._records.append(Record(-1, "", "", "", instance, size))

    def counted(self, *, body: int = 0, request: int = 0, pdu: int = 0) -> None:
        with self._lock:
            self._requests += request
            self._body += body
            self._pdus += pdu


_WIDE = {b"OB", b"OW", b"SQ", b"UN", b"UT"}
_WANTED = {0x00080018: "instance", 0x0020000D: "study", 0x0020000E: "series", 0x00200011: "number"}


def _planning(head: bytes) -> tuple[str, str, str, str] | None:
    """Study, series, series number and instance of an explicit little endian file."""
    found: dict[str, str] = {}
    position = 132
    while head[128:132] == b"DICM" and position + 8 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        position += 8
        if vr in _WIDE:
            length = int.from_bytes(head[position : position + 4], "little")
            position += 4
        tag = group << 16 | element
        if tag > 0x00200011:
            break
        if tag in _WANTED:
            found[_WANTED[tag]] = head[position : position + length].rstrip(b" \0").decode()
        position += length
    if not all(found.get(name) for name in ("study", "series", "instance")):
        return None
    return found["study"], found["series"], found.get("number", ""), found["instance"]


class _Incoming:
    """A request body as a file."""

    def __init__(self, connection: _PythonConnection, headers: dict[str, str]) -> None:
        self._connection = connection
        self._chunked = "chunked" in headers.get("transfer-encoding", "")
        self._left = 0 if self._chunked else int(headers.get("content-length", "0"))
        self._last = not self._chunked
        self.total = 0

    def read(self, size: int = -1) -> bytes:
        pieces = []
        while size and self._more():
            wanted = self._left if size < 0 else min(size, self._left)
            piece = self._connection.read_some(min(wanted, 1 << 18))
            if not piece:
                raise ConnectionError("the client closed the connection")
            self._left -= len(piece)
            self.total += len(piece)
            size -= len(piece) if size > 0 else 0
            pieces.append(piece)
        return b"".join(pieces)

    def _more(self) -> bool:
        if not self._left and not self._last:
            line = self._connection.line() or self._connection.line()
            self._left = int(line.split(b";")[0], 16)
            if not self._left:
                self._last = True
                while self._connection.line():
                    pass
        return self._left > 0


class _PythonConnection:
    def __init__(self, owner: PythonDrain, sock: socket.socket) -> None:
        self._owner = owner
        self._sock = sock
        self._buffer = b""
        self._served = 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # bytes

    def read_some(self, size: int) -> bytes:
        if not self._buffer:
            data = self._sock.recv(max(1, min(size, 1 << 16) if self._owner.rate else size))
            self._owner.throttle(len(data))
            return data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.read_some(size - len(data))):
            data += piece
        return data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            data = self._sock.recv(1 << 16)
            if not data:
                return b""
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def line(self) -> bytes:
        return self._until(b"\n").strip()

    def write(self, data: bytes) -> bool:
        self._sock.sendall(data)
        return True

    def close(self) -> None:
        self._sock.close()

    # HTTP

    def next_head(self) -> bytes:
        try:
            while head := self._until(b"\r\n\r\n"):
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                url = urlsplit(target)
                if method not in ("POST", "PUT") or "/services/import" not in url.path:
                    return head
                if not self._import({key: value[-1] for key, value in parse_qs(url.query).items()}, headers_of(head)):
                    return b""
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile):
            pass
        return b""

    def _import(self, query: dict[str, str], headers: dict[str, str]) -> bool:
        owner = self._owner
        if "expect" in headers:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        number = owner.session_for(query)
        body = _Incoming(self, headers)
        files = sum(owner.note(number, head, size) for head, size in _instances(body))
        while body.read(1 << 20):
            pass
        owner.counted(body=body.total, request=1)
        time.sleep(owner.delay * max(1, files))
        session = owner.sessions()[number]
        uri = ""
        if files and session.direct:
            uri = f"/xapi/direct-archive/{session.project}/{session.study}/{session.label}\r\n"
        elif files:
            uri = f"/data/prearchive/projects/{session.project}/20240105_{number:09d}/{session.label}\r\n"
        self._served += 1
        last = bool(owner.close_after) and self._served >= owner.close_after
        closing = "Connection: close\r\n" if last else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/uri-list\r\n{closing}Content-Length: {len(uri)}\r\n\r\n"
        self.write(f"{head}{uri}".encode())
        return not last

    # DICOM

    def store(self) -> bool:
        command, size = b"", 0
        while len(header := self.read(6)) == 6:
            kind, length = header[0], int.from_bytes(header[2:], "big")
            body = self.read(length)
            if kind == 5:
                return self.write(b"\6\0\0\0\0\4\0\0\0\0")
            if kind != 4:
                return False
            self._owner.counted(pdu=1)
            while body:
                count = int.from_bytes(body[:4], "big")
                context, flags, value, body = body[4], body[5], body[6 : 4 + count], body[4 + count :]
                if flags & 1:
                    command += value
                    continue
                size += len(value)
                if flags & 2:
                    fields = _command(command)
                    time.sleep(self._owner.delay)
                    self._owner.stored(fields.get(0x1000, b"").rstrip(b"\0").decode(), size)
                    self.write(_response(context, fields))
                    command, size = b"", 0
            if command and _command(command).get(0x0800) == b"\1\1":  # no data set follows: C-ECHO
                self.write(_response(context, _command(command)))
                command = b""
        return False


def _command(data: bytes) -> dict[int, bytes]:
    fields, position = {}, 0
    while position + 8 <= len(data):
        _, element, length = struct.unpack_from("<HHI", data, position)
        fields[element] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return fields


def _response(context: int, asked: dict[int, bytes]) -> bytes:
    field = int.from_bytes(asked.get(0x0100, b"\0\0"), "little") | 0x8000
    fields = [
        (0x0002, asked.get(0x0002, b"")),
        (0x0100, struct.pack("<H", field)),
        (0x0120, asked.get(0x0110, b"\0\0")),
    ]
    fields += [(0x0800, b"\1\1"), (0x0900, b"\0\0")]
    if 0x1000 in asked:
        fields.append((0x1000, asked[0x1000]))
    data = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in fields)
    data = struct.pack("<HHII", 0, 0, 4, len(data)) + data
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, context, 3) + data


def _instances(body: _Incoming) -> Any:
    """(beginning, size) of each file in a body: a tar, a tar.gz, a zip or one instance."""
    first = body.read(512)
    if first[:4] == b"PK\3\4":
        with tempfile.TemporaryFile() as kept:
            kept.write(first)
            while data := body.read(1 << 20):
                kept.write(data)
            with zipfile.ZipFile(kept) as bundle:
                for entry in bundle.infolist():
                    if entry.file_size:
                        with bundle.open(entry) as member:
                            yield member.read(HEAD), entry.file_size
    elif first[:2] == b"\x1f\x8b":
        yield from _tar(_Unpacked(_Behind(first, body)))
    elif first[257:262] == b"ustar":
        yield from _tar(_Behind(first, body))
    elif first:
        head = first + body.read(HEAD - len(first))
        while body.read(1 << 20):
            pass
        yield head, body.total


class _Behind:
    """Bytes that were read already, then the rest."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int) -> bytes:
        if not self._first:
            return bytes(self._rest.read(size))
        data, self._first = self._first[:size], self._first[size:]
        return data


class _Unpacked:
    """Gzip on the way."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(31)

    def read(self, size: int) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._source.read(1 << 16)
            data = self._inflate.decompress(packed, size)
            if data or not packed:
                return data
        return b""


def _tar(stream: Any) -> Any:
    with tarfile.open(fileobj=stream, mode="r|") as bundle:
        for member in bundle:
            if member.isreg() and member.size:
                content = bundle.extractfile(member)
                assert content is not None
                yield content.read(HEAD), member.size
