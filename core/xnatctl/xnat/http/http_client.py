"""Sends requests to one server: limits on time, abort, TLS, proxy. Sessions are handled above.

httpx gives the request, response and transport interfaces. Its `Client` is not used: it adds redirects, cookies and
authentication, which are unwanted, and takes as long for a small request as everything else here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import httpx

from xnatctl.errors import UsageError
from xnatctl.plugin.credentials import ClientCertificate, described
from xnatctl.xnat.http import responses
from xnatctl.xnat.http.errors import explain
from xnatctl.xnat.http.pool import EXCHANGE, ConnectionPool, Route
from xnatctl.xnat.http.request import Request
from xnatctl.xnat.http.responses import Response
from xnatctl.xnat.http.sockets import Exchange, Halted, Sockets, WireError
from xnatctl.xnat.http.tls import tls_context
from xnatctl.xnat.http.urls import ProxyAddress

#: Tomcat closes idle connections after 20 s. We close them before, or a request could meet a closing connection.
_KEEP_IDLE = 15.0

#: Imports go to one URL, and those of files of one size have the same headers.
_url = lru_cache(maxsize=64)(httpx.URL)
_headers = lru_cache(maxsize=16)(httpx.Headers)


class _RequestBody(httpx.SyncByteStream):
    """A body that is read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


class HttpClient:
    """Sends requests to one server, from any thread.

    `server` is the normalised base URL. `connect_timeout` and `stall_timeout` are in seconds, `verify` and `cert` as in
    `XnatClient`. `clean` prepares foreign texts for messages. Raises UsageError for a certificate that cannot be
    used.
    """

    def __init__(
        self,
        server: str,
        *,
        connect_timeout: float,
        stall_timeout: float,
        verify: bool | str,
        cert: str | tuple[str, str] | None,
        proxy: ProxyAddress | None,
        user_agent: str,
        clean: Callable[[str], str],
    ) -> None:
        self._server = server
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._proxy = proxy
        self._clean = clean
        self._known = False
        self._sockets = Sockets()
        self._verify = verify
        chain, key = cert if isinstance(cert, tuple) else (cert, None)
        given = ClientCertificate(certificate=chain, key=key) if chain is not None else None
        context = self._context(given) if server.startswith("https:") or given is not None else None
        host = httpx.Request("GET", server).headers["host"]
        always = {"Host": host, "User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._always = [(name.encode(), value.encode("ascii")) for name, value in always.items()]
        self._pool = self._new_pool(context if server.startswith("https:") else None)

    def present(self, certificate: ClientCertificate) -> None:
        """Present a client certificate on new connections; open ones are not used again.

        Raises UsageError for a certificate that cannot be used, and for a server without TLS.
        """
        if not self._server.startswith("https:"):
            raise UsageError(
                f"Cannot present {described(certificate)} to {self._server}, which does not use TLS.",
                hint="A client certificate needs a URL that begins with https://.",
            )
        before, self._pool = self._pool, self._new_pool(self._context(certificate))
        before.close()

    def _context(self, certificate: ClientCertificate | None) -> ssl.SSLContext:
        # httpx honours SSL_CERT_FILE and SSL_CERT_DIR.
        verify = self._verify
        return tls_context(lambda: httpx.create_ssl_context(verify=bool(verify)), verify=verify, cert=certificate)

    def _new_pool(self, tls: ssl.SSLContext | None) -> httpx.BaseTransport:
        return ConnectionPool(self._sockets, self._route(tls), keep=_KEEP_IDLE)

    def _route(self, tls: ssl.SSLContext | None) -> Route:
        url = httpx.URL(self._server)
        port = url.port or (443 if tls is not None else 80)
        return Route(host=url.raw_host.decode("ascii"), port=port, tls=tls, proxy=self._proxy)

    @property
    def aborts(self) -> int:
        """How often `abort` was called."""
        return self._sockets.aborts

    def abort(self) -> None:
        """Abort every request in flight: it ends with TransportError. Later requests work."""
        self._sockets.abort()

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def send(self, request: Request, headers: list[tuple[bytes, bytes]]) -> tuple[Response, list[str]]:
        """Send a request, and read the whole response. Returns it and its `Set-Cookie` lines.

        Raises ConnectionFailed, TransportError, NotXnat, and what the body of the request raises.
        """
        exchange = Exchange(
            begun=request.begun,
            timeout=request.timeout,
            connect_timeout=min(self._connect_timeout, request.timeout),
            stall_timeout=self._stall_timeout,
            on_bytes=request.on_bytes,
        )
        body = request.content()
        try:
            sent = httpx.Request(
                request.method,
                _url(self._server + request.target),
                headers=_headers((*self._always, *headers, *request.headers())),
                stream=_RequestBody(body),
                extensions={EXCHANGE: exchange},
            )
            with self._sockets.carrying(exchange):
                exchange.check()
                result = self._read(request, self._pool.handle_request(sent))
        except (Halted, WireError, httpx.InvalidURL) as error:
            raise explain(error, exchange, self._server, self._proxy, self._clean, known=self._known) from error
        finally:
            body.close()  # a source that was not read to its end closes its files now
        self._known = True
        return result

    def _read(self, request: Request, answer: httpx.Response) -> tuple[Response, list[str]]:
        try:
            headers, cookies = responses.split_headers(answer.headers.raw)
            status = answer.status_code
            fed = request.into() if request.into is not None and status == 200 else None
            assert isinstance(answer.stream, httpx.SyncByteStream)
            encoding, whole = headers.get("content-encoding", ""), 200 <= status < 300
            content = responses.read_body(encoding, answer.stream, request.limit, self._server, fed, whole=whole)
        finally:
            answer.close()
        return Response(status=status, headers=headers, content=content, fed=fed, clean=self._clean), cookies
