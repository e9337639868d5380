"""A small DICOMweb server on loopback: it keeps what it gets, and fails as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_BASE = "/dicom-web"
_MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(eq=False)
class DicomWebServer:
    """`stored` holds the files by SOP Instance UID, as they came, and `requests` the UIDs of each store request.

    `faults` are taken one by one, each by one store request: a status, with headers and a body; `lose` stores and
    closes the connection without an answer; `drop` closes it without reading; `hang` says nothing until `let_go` is
    set. `refused` maps UIDs to failure reasons, `unmentioned` are stored and not named in the answer, `unlisted` are
    stored and not listed.
    """

    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, ...]] = field(default_factory=list)
    faults: list[tuple[Any, ...]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    unmentioned: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    duplicates: bool = False  # refuse what is there with 0x0111
    authorization: str = ""  # the header without which it answers 401
    lists: bool = True  # whether it offers QIDO-RS
    page: int = 1000  # the most that it lists in one answer
    largest: int = 1 << 40  # the longest body that it takes
    hanging: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> DicomWebServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def encrypt(self, wrap: Callable[[Any], Any]) -> None:
        """Speak TLS from now on."""
        self._server.socket = wrap(self._server.socket)

    @property
    def place(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.place}{_BASE}"

    def store(self, parts: list[bytes]) -> tuple[int, dict[str, Any]]:
        """Keep the files; the status and the answer of PS3.18 I.2.1."""
        stored, failed = [], []
        with self.lock:
            uids = [uid_of(part, 0x0008, 0x0018) for part in parts]
            self.requests.append(tuple(uids))
            for uid, part in zip(uids, parts, strict=True):
                reason = 0x0111 if self.duplicates and uid in self.stored else self.refused.get(uid)
                if reason is not None:
                    failed.append({**_reference(uid), "00081197": _us(reason)})
                    continue
                self.stored[uid] = part
                if uid not in self.unmentioned:
                    warning = {"00081196": _us(self.warned[uid])} if uid in self.warned else {}
                    stored.append({**_reference(uid), **warning})
        answer = {"00081198": failed, "00081199": stored}
        status = 200 if not failed else 202 if stored else 409
        return status, {tag: {"vr": "SQ", "Value": value} for tag, value in answer.items() if value}

    def listed(self, study: str, series: str, offset: int, limit: int) -> list[dict[str, Any]]:
        """A page of the instances of a series."""
        with self.lock:
            uids = [
                uid
                for uid, part in sorted(self.stored.items())
                if uid not in self.unlisted
                and (uid_of(part, 0x0020, 0x000D), uid_of(part, 0x0020, 0x000E)) == (study, series)
            ]
        return [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids[offset:][: min(limit, self.page)]]


def uid_of(part: bytes, group: int, element: int) -> str:
    """A UID of a little endian data set, found by its tag."""
    tag = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    place = part.index(tag, 132) + 4
    explicit = part[place : place + 2] == b"UI"
    length = int.from_bytes(part[place + 2 : place + 4] if explicit else part[place : place + 4], "little")
    return part[place + 4 : place + 4 + length].rstrip(b"\0").decode()


def _reference(uid: str) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [_MR]}, "00081155": {"vr": "UI", "Value": [uid]}}


def _us(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [value]}


def _parts(body: bytes, content_type: str) -> Iterator[bytes]:
    """The parts of multipart/related (RFC 2046 5.1.1); fails for a body that is not exactly that."""
    assert content_type.startswith('multipart/related; type="application/dicom"; boundary='), content_type
    boundary = b"--" + content_type.rpartition("boundary=")[2].encode()
    before, *parts, end = (b"\r\n" + body).split(b"\r\n" + boundary)
    assert (before, end) == (b"", b"--\r\n")
    for part in parts:
        head, empty, content = part.partition(b"\r\n\r\n")
        assert (head, empty) == (b"\r\nContent-Type: application/dicom", b"\r\n\r\n")
        yield content


def _handler(server: DicomWebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

        def answer(self, status: int, document: Any = None, headers: dict[str, str] | None = None) -> None:
            text = document if isinstance(document, str) else json.dumps(document) if document is not None else ""
            kind = {"Content-Type": "text/html" if text.startswith("<") else "application/dicom+json"} if text else {}
            self.send_response(status)
            for name, value in {**kind, "Content-Length": str(len(text)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def cut(self) -> None:
            self.close_connection = True

        def refuses(self) -> bool:
            if not server.authorization or self.headers.get("Authorization") == server.authorization:
                return False
            self.close_connection = True
            self.answer(401, headers={"Connection": "close"})
            return True

        def do_POST(self) -> None:
            if self.refuses():
                return
            length = int(self.headers["Content-Length"])
            if length > server.largest:
                self.close_connection = True
                self.answer(413, headers={"Connection": "close"})
                return
            with server.lock:
                fault, *more = server.faults.pop(0) if server.faults else ("",)
            if fault == "drop":
                self.cut()
                return
            body = self.rfile.read(length)
            if fault == "hang":
                server.hanging.set()
                server.let_go.wait()
                self.cut()
                return
            if isinstance(fault, int):
                self.answer(fault, *reversed(more))
                return
            if len(body) < length:  # the client gave up
                self.cut()
                return
            if self.path != f"{_BASE}/studies":
                self.answer(404)
                return
            status, document = server.store(list(_parts(body, self.headers["Content-Type"])))
            if fault == "lose":
                self.cut()
            else:
                self.answer(status, document)

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
            if self.refuses():
                return
            if not server.lists:
                self.answer(501)
            elif url.path.count("/") == 6:
                _, _, _, study, _, series, _ = url.path.split("/")
                self.answer(200, server.listed(study, series, query["offset"], query["limit"]))
            else:
                self.answer(200 if url.path == f"{_BASE}/studies" else 404, [])

    return Handler


if __name__ == "__main__":
    with DicomWebServer() as practice:
        print(practice.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
