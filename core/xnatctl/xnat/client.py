"""The client of one XNAT server: one login, one HTTP client.

It follows no redirects, accepts no HTML pages, sends cookies to this server only, and turns every failure into an
error with an explanation (xnat-api 0, 1, 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import xnatctl
from xnatctl.errors import AuthenticationError, NotXnat, ServerError
from xnatctl.log import Log
from xnatctl.model.commands import PLAIN, Commands
from xnatctl.plugin.credentials import Credential
from xnatctl.plugin.protocols import Body
from xnatctl.redaction import Redactor
from xnatctl.xnat.http import cookies as cookie_lines
from xnatctl.xnat.http import responses
from xnatctl.xnat.http.attempt import SESSION_PATH
from xnatctl.xnat.http.cookies import CookieStore, HeaderList
from xnatctl.xnat.http.errors import CertificateRefused
from xnatctl.xnat.http.http_client import HttpClient
from xnatctl.xnat.http.login import Login, Renew
from xnatctl.xnat.http.parsers import Feed, KeptRows, Rows, TooLong
from xnatctl.xnat.http.request import Parameters, Request, content_of, pairs
from xnatctl.xnat.http.responses import Response
from xnatctl.xnat.http.retry import GetRetry
from xnatctl.xnat.http.urls import check_path, normalise_server, proxy_for, readable, segment, url_path

_T = TypeVar("_T")

__all__ = ["MAX_ANSWER", "MAX_LISTING", "Response", "XnatClient", "normalise_server", "segment", "url_path"]

#: Limit for a response that is read as a whole (bytes).
MAX_ANSWER = 8 * 2**20
#: Limit for a listing (bytes): 100,000 files make about 40 MB of JSON.
MAX_LISTING = 256 * 2**20
#: Limit for the memory of the rows of a listing that the caller keeps (bytes).
MOST_KEPT = 16 * 2**20
#: The same for a listing that is shown to the user.
MOST_SHOWN = 512 * 2**20
#: Limit for a GET, in seconds: a listing never takes hours. A shorter `timeout` takes precedence.
GET_TIMEOUT = 900.0
#: Limits for a login and a logout, in seconds.
LOGIN_TIMEOUT = 120.0
LOGOUT_TIMEOUT = 10.0
#: Limit for the logout after an interrupt: the user waits at the terminal.
HASTY_TIMEOUT = 2.0
_READS = frozenset({"GET", "HEAD"})


class Check(Protocol):
    """Raises the error that ends a run; `writes`: the request that is about to be sent may change the server."""

    def __call__(self, *, writes: bool) -> None: ...


def _unchecked(*, writes: bool) -> None:
    """The default: every request may be sent."""


class XnatClient:
    """A client of one server, shared by all workers.

    `server` is the base URL, with the context path. Times are in seconds: `timeout` bounds one whole request,
    `connect_timeout` one step of connecting, `stall_timeout` how long a request or a response that has begun may make
    no progress, `retry_for` how long a GET is repeated without a response. `verify` is True, False or the path of a CA
    bundle; `cert` is a client certificate: one file, or certificate and key. The proxy comes from the environment.
    `commands` makes the commands of hints. The redactor of `log` masks secrets. Raises UsageError for a URL, a
    certificate or a proxy that cannot be used.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float = 21600.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 60.0,
        retry_for: float | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        user_agent: str | None = None,
        commands: Commands = PLAIN,
        log: Log | None = None,
    ) -> None:
        self.server = normalise_server(server)
        self.timeout = timeout
        #: Number of requests so far that may change something on the server, without logins and logouts.
        self.writes = 0
        self.commands = commands
        self.log = log if log is not None else Log(Redactor())
        self.redactor = self.log.redactor
        self._redact: Callable[[str], str] = str
        self._context = urlsplit(self.server).path
        self._cookies = CookieStore()
        self._retry = GetRetry(retry_for)
        self._aborted = False
        self._check: Check = _unchecked
        self._login: Login | None = None
        proxy = proxy_for(self.server)
        if proxy is not None:
            self.redactor.register_secret(proxy.password, proxy.username)
        self._http = HttpClient(
            self.server,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            verify=verify,
            cert=cert,
            proxy=proxy,
            # An agent with "Mozilla" in it would be redirected to a login page (xnat-api 0.8).
            user_agent=user_agent or f"xnatctl/{xnatctl.__version__}",
            clean=self.clean,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # logging in and out

    def login(self, credential_for: Callable[[], Credential], renew: Renew | None = None) -> None:
        """Log in, and check the login name. `credential_for` returns the next credential at each call.

        `renew` returns another credential for one that the server refuses or that has expired, or None when its source
        cannot. It is called once for all workers. Raises AuthenticationError, ConnectionFailed, NotXnat, ServerError.
        """
        self._login = Login(
            self.server,
            self.probe,
            self._cookies,
            credential_for,
            renew=renew,
            present=self._http.present,
            commands=self.commands,
            redactor=self.redactor,
        )
        self._login.first()

    @property
    def login_name(self) -> str | None:
        """The login name; None before the login."""
        return self._login.name if self._login is not None else None

    @property
    def session_timeout(self) -> float | None:
        """How long the server keeps an idle session, in seconds; None if unknown."""
        return self._login.session_timeout if self._login is not None else None

    @property
    def lost_login(self) -> AuthenticationError | None:
        """Why the login ended and its source could not renew it; None while there is a login."""
        return self._login.lost if self._login is not None else None

    def keep_session(self) -> str:
        """Return the session token, a secret. `close` then leaves the session open."""
        return self._login.keep() if self._login is not None else ""

    def shared_session(self) -> str | None:
        """Return the session token, a secret, for other processes, which log in with `App.join_session`.

        None if a token is not enough: the login has Headers or a ClientCertificate for every request, or the server
        changes the token with each response. Then each process logs in by itself. `close` ends the session for all.
        """
        return self._login.shared() if self._login is not None else None

    def renew_shared_session(self, rejected: str) -> str | None:
        """Return the session token in place of one that the server rejects; logs in again unless that was done before.

        None as for `shared_session`. Raises AuthenticationError when there is no other login, and the errors of
        `login`. May be called from any thread.
        """
        return self._login.renew_shared(rejected) if self._login is not None else None

    def close(self) -> None:
        """Log out, unless the session came from a cache, and close the connections. Never raises."""
        with suppress(Exception):  # an error of closing must not hide an earlier one
            if self._login is not None:
                self._login.end(HASTY_TIMEOUT if self._aborted else LOGOUT_TIMEOUT)
        with suppress(Exception):
            self._http.close()

    def abort(self) -> None:
        """Abort every request in flight: it ends with TransportError. Later requests, such as the logout, work."""
        self._aborted = True
        self._retry.stop()
        self._http.abort()

    @contextmanager
    def supervised(self, check: Check) -> Iterator[None]:
        """Inside, call `check` before each request but logins; it raises the error that ends the run.

        An `abort` of an earlier run is over.
        """
        before, self._check = self._check, check
        self._aborted = False
        self._retry.restart()
        try:
            yield
        finally:
            self._check = before

    def clean(self, text: str) -> str:
        """A text of the server for a message: one line of bounded length, with secrets and patients masked."""
        return self._redact(responses.foreign(text, self.redactor))

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Apply `redact` to the texts of the server from now on. A run masks what identifies its patients."""
        self._redact = redact

    def redact(self, text: str) -> str:
        """Apply the function given to `redact_with`."""
        return self._redact(text)

    # cookies

    def cookie(self, name: str) -> str | None:
        """The value of a cookie, as the server sent it."""
        return self._cookies.current()[0].get(name)

    def set_cookies(self, cookies: Mapping[str, str]) -> None:
        """Replace all cookies. Raises ValueError for a value that cannot be one."""
        self._cookies.replace(cookies)

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
        expect: tuple[int, ...] | None = None,
        relogin: bool = True,
        on_bytes: Callable[[int], None] | None = None,
        limit: int = MAX_ANSWER,
        into: Callable[[], Feed] | None = None,
    ) -> Response:
        """Send a request; `path` is below the base URL and comes from `url_path`.

        Returns a response with status 2xx or one of `expect`. When the session has ended, all workers share one new
        login, and the request is sent once more. `on_bytes` is called with each number of bytes of the body that the
        kernel has taken. `into()` makes the parser for the body of a 200; it is in `fed` of the response. Raises
        AuthenticationError, PermissionDenied, NotFound, TooLarge, Throttled, NotXnat, ServerError, ConnectionFailed
        (nothing was sent), TransportError (no complete response), SourceChanged (from the body), Interrupted (the run
        was stopped).
        """
        content, media_type = content_of(body, content_type, form, json)
        call = Request(
            method=method,
            path=check_path(path),
            limit=limit,
            timeout=timeout or (min(self.timeout, GET_TIMEOUT) if method == "GET" else self.timeout),
            begun=self._http.aborts,
            params=pairs(params),
            body=content,
            content_type=media_type,
            on_bytes=on_bytes,
            into=into,
        )
        self.writes += method not in _READS and path != SESSION_PATH
        expected = expect or ()
        login = self._login if relogin else None
        if login is not None:
            login.replace_expired()
        generation = login.generation if login is not None else 0
        try:
            reply, alive = self._retry.send(method, lambda: self._send_with_session(call))
        except CertificateRefused:
            if login is None:
                raise
            ended = True
        else:
            ended = not alive or (reply.status not in expected and self._refuses_login(reply))
        if ended and login is not None:
            login.renew(generation)
            reply, alive = self._send_with_session(call)
            if not alive:
                self._cookies.expect_rotation()
        return responses.judge(reply, self.server, method, readable(path), expected, self.commands)

    def _refuses_login(self, reply: Response) -> bool:
        return reply.status == 401 or responses.asks_for_login(reply, self.server)

    def _send_with_session(self, call: Request) -> tuple[Response, bool]:
        """Send with our login. False when the response shows that our session has ended."""
        headers, epoch = self._cookies.headers()
        self._check(writes=call.method not in _READS)
        reply, given = self._send(call, headers)
        # A 401 comes with a session of a guest.
        return reply, reply.status == 401 or self._cookies.keep(given, epoch)

    def probe(
        self,
        method: str,
        path: str,
        cookies: Mapping[str, str],
        *,
        headers: HeaderList | None = None,
        timeout: float = LOGIN_TIMEOUT,
    ) -> tuple[Response, dict[str, str]]:
        """Send a request with its own cookies, outside of the shared session: for logging in.

        Returns the response, whatever its status, and the cookies after it. Raises ConnectionFailed, TransportError.
        """
        call = Request(
            method=method,
            path=check_path(path),
            limit=MAX_ANSWER,
            timeout=min(timeout, self.timeout),
            begun=self._http.aborts,
            params=[],
        )
        reply, given = self._send(call, [*(headers or []), *cookie_lines.header(cookies)])
        return reply, cookie_lines.merge(cookies, given)

    def get_json(self, path: str, params: Parameters | None = None, **options: Any) -> Any:
        """GET a JSON document. Raises NotXnat when the body is not JSON."""
        reply = self.request("GET", path, params=params, **options)
        try:
            return reply.json()
        except NotXnat as error:
            raise NotXnat(
                f"{self.server} did not return JSON for {readable(path)}.", hint=error.hint, status=reply.status
            ) from None

    def table(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        keep: Callable[[Mapping[str, str]], bool] | None = None,
        most: int = MOST_KEPT,
    ) -> list[Mapping[str, str]]:
        """The rows of a listing, all or those to `keep`; every cell is text (xnat-api 2.1).

        `most` bounds the memory of the kept rows, in bytes. Raises NotXnat when the response is not a table,
        ServerError when the rows need more memory.
        """
        kept = KeptRows(keep, most)
        self.each_row(path, kept.begin, params)
        return kept.rows

    def collect_rows(self, path: str, new: Callable[[], _T], add: Callable[[_T, Mapping[str, str]], None]) -> _T:
        """Add the rows of a long listing one by one to the result of `new()`, and return it.

        A repeated request begins with a new result. `add` may raise TooLong. Raises like `each_row`.
        """
        result = new()

        def take() -> Callable[[Mapping[str, str]], None]:
            nonlocal result
            result = new()
            return partial(add, result)

        self.each_row(path, take)
        return result

    def each_row(
        self,
        path: str,
        take: Callable[[], Callable[[Mapping[str, str]], None]],
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Read the rows of a long listing one by one.

        `take()` returns the function that gets each row; it is called again when the request is repeated. That function
        may raise TooLong. Raises NotXnat when the response is not a table, ServerError when it is too long.
        """
        query = {**(params or {}), "format": "json"}
        reply = self.request("GET", path, params=query, limit=MAX_LISTING, into=lambda: Rows(take()))
        try:
            if reply.fed is None:
                raise ValueError("no body")
            reply.fed.finish()
        except TooLong as error:
            raise ServerError(
                f"{self.server} lists {error} at {readable(path)}, which is more than xnatctl reads.",
                hint="Ask the administrator what is in that listing.",
                status=reply.status,
            ) from None
        except ValueError:
            raise NotXnat(
                f"{self.server} did not return a table for {readable(path)}.",
                hint="A login page or a proxy may have answered: check the URL.",
                status=reply.status,
            ) from None

    def _send(self, call: Request, headers: HeaderList) -> tuple[Response, dict[str, str | None]]:
        """Send, and read the whole response. Returns it and the cookies that came with it."""
        response, lines = self._http.send(call, headers)
        if self.log.wanted:
            self.log.debug("HTTP Request", method=call.method, path=call.path, status=response.status)
        cookies = cookie_lines.received(lines, self._context)
        for name, value in cookies.items():
            if value and name != cookie_lines.EXPIRATION:
                self.redactor.register_cookie(value)
        return response, cookies
