"""Servers for the client: one scripted byte by byte, and one that logs in as an XNAT does (xnat-api 1)."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from xnatctl.api import Credential, Password
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import XnatClient

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or certificate of whoever runs the tests."""
    for name in _PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def connect() -> Iterator[Callable[..., XnatClient]]:
    """Makes clients; closes them at the end."""
    made: list[XnatClient] = []

    def make(url: str, **options: Any) -> XnatClient:
        made.append(XnatClient(url, **{"timeout": 100.0, "stall_timeout": 60.0, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


class Wire:
    """One accepted connection, for scripts."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._rest = b""

    def head(self) -> str:
        """The next request's head."""
        while b"\r\n\r\n" not in self._rest:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the client has gone")
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def body(self, length: int) -> bytes:
        """That many bytes of a body, or as many as came."""
        while len(self._rest) < length:
            data = self.sock.recv(65536)
            if not data:
                break
            self._rest += data
        body, self._rest = self._rest[:length], self._rest[length:]
        return body

    def request(self) -> tuple[str, bytes]:
        """Head and whole body of the next request."""
        head = self.head()
        length = re.search(r"(?im)^content-length: *(\d+)", head)
        return head, self.body(int(length.group(1)) if length else 0)

    def rest(self) -> bytes:
        """What came with the head and was not read yet."""
        rest, self._rest = self._rest, b""
        return rest

    def until_gone(self) -> int:
        """Read until the client closes; how much came."""
        count = len(self._rest)
        self._rest = b""
        with suppress(OSError):
            while data := self.sock.recv(65536):
                count += len(data)
        return count

    def say(self, text: str | bytes) -> None:
        """Write as it is."""
        self.sock.sendall(text.encode("latin-1") if isinstance(text, str) else text)

    def answer(self, status: int = 200, body: bytes | str = b"", **headers: str) -> None:
        """A whole answer; `_` in a header name stands for `-`."""
        data = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.say("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Wire], None]


class WireServer:
    """Runs a script for every connection, each in its own thread. What a script raises fails the test."""

    def __init__(self, script: Script, *, wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        self._script = script
        self._wrap = wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.failures: list[BaseException] = []
        self.release = threading.Event()
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return len(self._threads)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(sock, len(self._threads)))
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        try:
            if self._wrap is not None:
                sock = self._wrap(sock)
                self._open.append(sock)
            self._script(Wire(sock, number))
        except OSError:
            pass  # the client hung up
        except BaseException as error:
            self.failures.append(error)
        finally:
            sock.close()

    def finish(self) -> None:
        """Wait until every script has come to its end by itself."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a script still waits for its client"

    def stop(self) -> None:
        """End everything; raises what a script raised."""
        self.release.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(60)
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # its own thread closes it: a script may just be reading
        for thread in self._threads:
            thread.join(60)
        if self.failures:
            raise self.failures[0]


@pytest.fixture
def wire() -> Iterator[Callable[..., WireServer]]:
    """Makes servers that are scripted byte by byte."""
    made: list[WireServer] = []

    def make(script: Script, **options: Any) -> WireServer:
        made.append(WireServer(script, **options))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    cookies: dict[str, str]
    basic: str | None
    body: bytes
    agent: str
    session: str | None
    login: str | None
    bearer: str | None = None


@dataclass
class Xnat:
    """As much of an XNAT as a login needs: guests, sessions, the two cookies, lock-out by count."""

    url: str
    context: str = ""
    passwords: dict[str, str] = field(default_factory=lambda: {"alice": "wonder:land"})
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Bearer tokens and certificates (PEM) of logins.
    bearers: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, str] = field(default_factory=dict)
    #: A gateway in front: its answer in place of ours, or None to let a request pass.
    gateway: Callable[[Request], Response | None] = lambda request: None
    sessions: dict[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    routes: dict[tuple[str, str], Callable[[Seen], Response]] = field(default_factory=dict)
    open_site: bool = False
    cookie_suffix: str = "; HttpOnly"
    lock: threading.RLock = field(default_factory=threading.RLock)
    counter: int = 0

    def route(self, method: str, path: str, answer: Callable[[Seen], Response] | Response | str | object) -> None:
        """What a path answers to whoever is logged in; text and documents are wrapped."""
        if callable(answer) and not isinstance(answer, Response):
            self.routes[method, path] = answer
            return
        self.routes[method, path] = lambda _: _response(answer)

    def expire(self) -> None:
        """All sessions have ended."""
        with self.lock:
            self.sessions.clear()

    @property
    def logins(self) -> list[Seen]:
        """Requests that carried a password or an alias token."""
        with self.lock:
            return [request for request in self.seen if request.basic is not None]

    def to(self, path: str) -> list[Seen]:
        """Requests to one path."""
        with self.lock:
            return [request for request in self.seen if request.path == path]

    def handle(self, request: Request) -> Response:
        """The whole server."""
        with self.lock:
            if (refusal := self.gateway(request)) is not None:
                return refusal
            seen = self._look(request)
            self.seen.append(seen)
            if (login := self._by_request(seen, request)) is not None and seen.login != login:
                seen.session, seen.login = self._open(login), login
            if seen.basic is not None and (refused := self._basic(seen)) is not None:
                return refused
            answer = self._answer(seen)
            self._set_cookies(seen, answer)
            return answer

    def _look(self, request: Request) -> Seen:
        session = request.cookies.get("JSESSIONID")
        header = request.headers.get("Authorization", "")
        basic = base64.b64decode(header[6:]).decode() if header.startswith("Basic ") else None
        return Seen(
            method=request.method,
            path=request.path.removeprefix(self.context),
            query=dict(request.args),
            cookies=dict(request.cookies),
            basic=basic,
            body=request.get_data(),
            agent=request.headers.get("User-Agent", ""),
            bearer=header[7:] if header.startswith("Bearer ") else None,
            session=session if session in self.sessions else None,
            login=self.sessions.get(session or ""),
        )

    def _by_request(self, seen: Seen, request: Request) -> str | None:
        """The login that a bearer token or a client certificate stands for."""
        certificate = request.environ.get("SSL_CLIENT_CERT", "").strip()
        return self.bearers.get(seen.bearer or "") or self.certificates.get(certificate)

    def _basic(self, seen: Seen) -> Response | None:
        user, _, secret = (seen.basic or "").partition(":")
        login = user.rpartition("/")[2]
        if user in self.tokens and self.tokens[user][0] == secret:
            login = self.tokens[user][1]
        elif self.passwords.get(login) != secret:
            return Response("<html><h3>Login attempt failed.</h3></html>", 401, content_type="text/html")
        seen.session, seen.login = self._open(login), login
        return None

    def _open(self, login: str) -> str:
        self.counter += 1
        name = f"{self.counter:032X}"
        self.sessions[name] = login
        return name

    def _answer(self, seen: Seen) -> Response:
        if seen.path == "/data/JSESSION":
            if seen.method == "DELETE":
                self.sessions.pop(seen.session or "", None)
                return Response("", 200)
            seen.session = seen.session or self._open("guest")
            return Response(seen.session, 200, content_type="text/plain")
        if seen.path == "/xapi/siteConfig/buildInfo":
            return _response(json.dumps({"version": "1.8.11"}))
        if seen.login in (None, "guest") and not self.open_site:
            return Response("<html><h3>No</h3></html>", 401, {"WWW-Authenticate": 'Basic realm="XNAT"'})
        login = seen.login or "guest"
        if (seen.method, seen.path) in self.routes:
            return self.routes[seen.method, seen.path](seen)
        if seen.path == "/xapi/users/username":
            return Response(login, 200, content_type="text/plain")
        if seen.path == "/data/auth":
            return Response(f"User '{login}' is logged in", 200, content_type="text/plain")
        return Response("<html><h3>The server has not found anything</h3></html>", 404, content_type="text/html")

    def _set_cookies(self, seen: Seen, answer: Response) -> None:
        if seen.session is None:
            seen.session = self._open("guest")
        if seen.cookies.get("JSESSIONID") != seen.session:
            path = self.context or "/"
            answer.headers.add("Set-Cookie", f"JSESSIONID={seen.session}; Path={path}{self.cookie_suffix}")
        expiry = f'SESSION_EXPIRATION_TIME="1718800000000,900000"; Path={self.context}/{self.cookie_suffix}'
        answer.headers.add("Set-Cookie", expiry)


def _response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return Response(answer.get_data(), answer.status_code, dict(answer.headers))
    if isinstance(answer, str):
        return Response(answer, 200, content_type="text/plain")
    return Response(json.dumps(answer), 200, content_type="application/json")


@pytest.fixture
def make_xnat() -> Iterator[Callable[..., Xnat]]:
    """Starts servers that log in as an XNAT does."""
    servers: list[HTTPServer] = []

    def make(context: str = "", tls: ssl.SSLContext | None = None, **options: Any) -> Xnat:
        server = HTTPServer(host="127.0.0.1", port=0, threaded=True, ssl_context=tls)
        servers.append(server)
        server.start()
        scheme = "http" if tls is None else "https"
        xnat = Xnat(url=f"{scheme}://127.0.0.1:{server.port}{context}", context=context, **options)
        server.expect_request(re.compile(".*")).respond_with_handler(xnat.handle)
        return xnat

    yield make
    for server in servers:
        server.stop()
        server.check()


@pytest.fixture
def xnat(make_xnat: Callable[..., Xnat]) -> Xnat:
    return make_xnat()


@pytest.fixture
def password() -> Callable[..., Callable[[], Credential]]:
    """A credential chain of one password; a second question fails the test."""

    def make(username: str = "alice", secret: str = "wonder:land") -> Callable[[], Credential]:
        given: list[Credential] = []

        def ask() -> Credential:
            assert not given, "the credential was asked for twice"
            given.append(Password(username=username, secret=secret, source="test"))
            return given[0]

        return ask

    return make


@pytest.fixture
def alice(
    xnat: Xnat, connect: Callable[..., XnatClient], password: Callable[..., Callable[[], Credential]]
) -> XnatClient:
    """A client that is logged in."""
    client = connect(xnat.url)
    client.login(password())
    return client


@pytest.fixture
def body_of() -> Callable[..., Body]:
    """A body of given pieces; `length` may lie."""

    def make(*pieces: bytes, length: int | None = None) -> Body:
        return Body(length=sum(map(len, pieces)) if length is None else length, chunks=lambda: iter(pieces))

    return make


@pytest.fixture
def table() -> Callable[..., dict[str, Any]]:
    """A listing as the server writes it."""
    return lambda *rows: {"ResultSet": {"Result": list(rows), "totalRecords": str(len(rows))}}
