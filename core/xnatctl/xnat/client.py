"""The HTTP client: one connection pool, one login, no surprises.

The only module that imports httpx. No redirect is ever followed, HTML is never success, cookies stay with this
server, and every failure becomes an error that says what happened (contract xnat-api 0, 1, 7).
"""

from __future__ import annotations

import base64
import json as json_module
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import httpx

import xnatctl
from xnatctl.errors import ConnectionFailed, NotXnat, SourceChanged, TransportError, UsageError
from xnatctl.plugin.protocols import Body, Credential
from xnatctl.xnat import replies
from xnatctl.xnat.replies import Reply
from xnatctl.xnat.urls import normalise_server

if TYPE_CHECKING:
    from xnatctl.xnat.login import Login

Parameters = Mapping[str, str] | Sequence[tuple[str, str]]

#: An answer larger than this is no answer of ours (bytes).
MAX_ANSWER = 8 * 2**20
#: Listings may be long: 100,000 files make about 40 MB of JSON.
MAX_LISTING = 256 * 2**20


class XnatClient:
    """A connection to one server, shared by all workers.

    `server` is the base URL, a context path included. `timeout` bounds one whole request in seconds, `stall_timeout`
    how long
    a socket may take no byte, `connect_timeout` the connecting. `verify` is True, False or the path of a CA bundle.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float = 21600.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 60.0,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        user_agent: str | None = None,
    ) -> None:
        self.server = normalise_server(server)
        self.timeout = timeout
        self.login_name: str | None = None
        self.session_timeout: float | None = None
        self._cookies: dict[str, str] = {}
        self._epoch = 0
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._aborted = False
        self._login: Login | None = None
        # An agent with "Mozilla" in it would be redirected to a login page (contract xnat-api 0.8).
        agent = user_agent or f"xnatctl/{xnatctl.__version__}"
        self._http = httpx.Client(
            headers={"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "identity"},
            follow_redirects=False,
            verify=_tls(verify=verify, cert=cert),
            # httpx would keep cookies for other hosts too; ours are sent by hand, to this server alone.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(connect=connect_timeout, read=timeout, write=stall_timeout, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # logging in and out

    def login(self, credential_for: Callable[[], Credential]) -> None:
        """Log in once and prove who we are; `credential_for` gives the next credential each time it is called.

        Raises AuthenticationError, ConnectionFailed, NotXnat.
        """
        from xnatctl.xnat.login import Login

        self._login = Login(self, credential_for)
        self._login.first()

    def keep_session(self) -> str:
        """The session token, whose session then outlives this client. A secret."""
        return self._login.keep() if self._login is not None else ""

    def close(self) -> None:
        """End the server's session, unless it came from a cache; never raises."""
        try:
            if self._login is not None and not self._aborted:
                with suppress(Exception):  # closing must not hide what happened before
                    self._login.end()
        finally:
            self._http.close()

    def abort(self) -> None:
        """Cut every request in flight; they end with TransportError. Later requests, such as the log-out, work."""
        for sock in list(self._sockets):
            # The plain shutdown also for TLS: a polite goodbye could block.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # cookies

    def cookie(self, name: str) -> str | None:
        """The value of a cookie of this server, as it was sent."""
        with self._lock:
            return self._cookies.get(name)

    def adopt(self, cookies: Mapping[str, str]) -> None:
        """Use these cookies from now on; what requests that are still on their way bring back no longer counts."""
        with self._lock:
            self._cookies = dict(cookies)
            self._epoch += 1

    def _keep_cookies(self, reply: Reply, epoch: int) -> None:
        """Take over what the server sets, a node's affinity say; a guest's session that comes with a 401 is none."""
        with self._lock:
            if epoch == self._epoch and reply.status != 401:
                self._cookies.update(reply.cookies)

    def _cookie_header(self) -> dict[str, str]:
        with self._lock:
            pairs = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return {"Cookie": pairs} if pairs else {}

    # requests

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Parameters | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        form: Parameters | None = None,
        json: object = None,
        timeout: float | None = None,
        expect: tuple[int, ...] = (),
        relogin: bool = True,
        on_bytes: Callable[[int], None] | None = None,
        limit: int = MAX_ANSWER,
    ) -> Reply:
        """One request; `path` comes from `url_path`, below the base URL.

        Returns 2xx and what `expect` lists. On 401 in mid-run one shared re-login, then once more. Raises
        AuthenticationError, PermissionDenied, NotFound, TooLarge, Throttled, NotXnat, ServerError, ConnectionFailed
        (nothing was sent), TransportError (the answer was lost), SourceChanged (from the body).
        """
        generation = self._login.generation if self._login else 0
        epoch = self._epoch
        call = _Call(method, path, params, body, content_type, form, json, timeout, on_bytes, limit)
        reply = self._send(call, self._cookie_header())
        if reply.status == 401 and 401 not in expect and relogin and self._login is not None:
            self._login.renew(generation)
            epoch = self._epoch
            reply = self._send(call, self._cookie_header())
        self._keep_cookies(reply, epoch)
        return replies.judge(reply, self.server, method, path, expect)

    def basic(self, method: str, path: str, username: str, secret: str) -> Reply:
        """One request with HTTP Basic and no cookie; any status comes back as it is, its cookies are not kept."""
        token = base64.b64encode(f"{username}:{secret}".encode()).decode()
        return self._send(_Call(method, path), {"Authorization": f"Basic {token}"})

    def get_json(self, path: str, params: Parameters | None = None, **options: Any) -> Any:
        """GET and decode. Raises NotXnat when the body is not JSON."""
        return self.request("GET", path, params=params, **options).json()

    def table(self, path: str, params: Mapping[str, str] | None = None) -> list[dict[str, str]]:
        """The rows of a listing; every cell is text (contract xnat-api 2.1)."""
        document = self.get_json(path, {**(params or {}), "format": "json"}, limit=MAX_LISTING)
        try:
            rows = document["ResultSet"]["Result"]
        except (KeyError, TypeError):
            raise NotXnat(f"{self.server} did not answer {path} with a table.") from None
        return [{str(key): "" if value is None else str(value) for key, value in row.items()} for row in rows]

    def _send(self, call: _Call, headers: Mapping[str, str]) -> Reply:
        timeout = call.timeout or self.timeout
        deadline = time.monotonic() + timeout
        sender = _Sender(call, deadline)
        request = self._http.build_request(
            call.method,
            self.server + call.path,
            params=call.query,
            headers={**headers, **call.headers()},
            content=sender.content(),
            timeout=httpx.Timeout(
                connect=self._http.timeout.connect, read=timeout, write=self._http.timeout.write, pool=None
            ),
            extensions={"trace": self._remember_socket},
        )
        try:
            answer = self._http.send(request, stream=True)
            try:
                content = _read(answer, call.limit, deadline)
            finally:
                answer.close()
        except sender.failures as error:
            raise sender.failed(error) from error
        except httpx.HTTPError as error:
            raise self._explain(error, sender, timeout) from error
        return Reply(
            status=answer.status_code,
            headers=dict(answer.headers),
            content=content,
            cookies=replies.cookies(answer.headers.get_list("set-cookie")),
        )

    def _remember_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Httpx's trace extension: the sockets that `abort` cuts."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            sock = info["return_value"].get_extra_info("socket")
            if isinstance(sock, socket.socket):
                self._sockets.add(sock)

    def _explain(self, error: httpx.HTTPError, sender: _Sender, timeout: float) -> ConnectionFailed:
        """The error in our words; the sender knows whether the server can have seen anything."""
        reason = _reason(error)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError | httpx.UnsupportedProtocol):
            return ConnectionFailed(f"Cannot reach {self.server}: {reason}.", hint=_hint(reason))
        if isinstance(error, httpx.WriteTimeout):
            return TransportError(
                f"{self.server} took no more data for {self._http.timeout.write:.0f} s; the connection was given up."
            )
        if isinstance(error, httpx.ReadTimeout) or sender.late:
            return TransportError(
                f"{self.server} did not answer within {timeout:.0f} s.",
                hint="A larger `timeout` in the profile, or XNAT_TIMEOUT, gives it more time.",
            )
        return TransportError(f"The connection to {self.server} broke before the answer: {reason}.")


class _Call:
    """The arguments of one request, kept so that it can be made again."""

    def __init__(
        self,
        method: str,
        path: str,
        params: Parameters | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        form: Parameters | None = None,
        json: object = None,
        timeout: float | None = None,
        on_bytes: Callable[[int], None] | None = None,
        limit: int = MAX_ANSWER,
    ) -> None:
        self.method, self.path, self.form, self.timeout, self.limit = method, path, form, timeout, limit
        self.query = None if params is None else tuple(params.items() if isinstance(params, Mapping) else params)
        self.on_bytes = on_bytes
        self.content_type = content_type
        if form is not None:
            pairs = list(form.items() if isinstance(form, Mapping) else form)
            self.body: Body | bytes | None = urlencode(pairs).encode()
            self.content_type = "application/x-www-form-urlencoded"
        elif json is not None:
            self.body = json_module.dumps(json).encode()
            self.content_type = "application/json"
        else:
            self.body = body

    def headers(self) -> dict[str, str]:
        headers = {}
        if self.body is not None:
            length = self.body.length if isinstance(self.body, Body) else len(self.body)
            headers["Content-Length"] = str(length)
        elif self.method in ("POST", "PUT"):
            headers["Content-Length"] = "0"
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return headers


class _BodyError(Exception):
    """Something inside the body stopped the request; `cause` is the real error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Sender:
    """Feeds a body into a request: counts bytes, keeps the deadline, and carries errors of the body out of httpx."""

    failures = (_BodyError,)

    def __init__(self, call: _Call, deadline: float) -> None:
        self._call = call
        self._deadline = deadline
        self.late = False

    def content(self) -> Iterator[bytes] | bytes | None:
        body = self._call.body
        return self._chunks(body) if isinstance(body, Body) else body

    def _chunks(self, body: Body) -> Iterator[bytes]:
        left = body.length
        chunks = body.chunks()
        while True:
            try:
                chunk = next(chunks, None)
            except (SourceChanged, OSError) as error:
                raise _BodyError(error) from error
            if chunk is None:
                break
            left -= len(chunk)
            if left < 0:
                raise _BodyError(SourceChanged("More data than was planned: a file grew while it was being sent."))
            if time.monotonic() > self._deadline:
                self.late = True
                raise httpx.WriteTimeout("the whole request took too long")
            yield chunk
            if self._call.on_bytes is not None:
                self._call.on_bytes(len(chunk))
        if left:
            raise _BodyError(SourceChanged("Less data than was planned: a file shrank while it was being sent."))

    @staticmethod
    def failed(error: _BodyError) -> Exception:
        if isinstance(error.cause, SourceChanged):
            return error.cause
        return SourceChanged(f"A file could not be read while it was being sent: {error.cause}.")


def _read(answer: httpx.Response, limit: int, deadline: float) -> bytes:
    """The whole body, bounded in size and time."""
    pieces: list[bytes] = []
    size = 0
    for piece in answer.iter_raw():
        size += len(piece)
        if size > limit:
            raise httpx.ReadError(f"the answer is longer than {limit} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the whole request took too long")
        pieces.append(piece)
    return b"".join(pieces)


def _tls(*, verify: bool | str, cert: str | tuple[str, str] | None) -> Any:
    """An SSL context for a CA bundle or a client certificate; plain True and False as they are."""
    if verify is True and cert is None:
        return True
    import ssl

    try:
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert is not None:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"The certificate file cannot be used: {error}.") from error
    return context


def _reason(error: Exception) -> str:
    """The innermost reason, which names the real trouble."""
    text = str(error) or type(error).__name__
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            text = seen.strerror
        seen = seen.__cause__ or seen.__context__
    return replies.tidy(text)


def _hint(reason: str) -> str:
    low = reason.lower()
    if "certificate" in low:
        return "For a server with its own certificate authority, name the CA file with `ca_cert` in the profile."
    if "name or service not known" in low or "temporary failure" in low or "nodename" in low:
        return "Check the host name in the URL."
    if "refused" in low:
        return "Check the port in the URL, and that the server is running."
    return "Check the URL, the network and the proxy settings."
