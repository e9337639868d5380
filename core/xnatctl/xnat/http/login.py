"""The login: once at the start of a run, and once for all workers when the session ends early.

`/data/JSESSION` answers guests with 200 too, so the client then asks who it is logged in as (xnat-api 1.1.1). Every
Basic request without a cookie opens a session on the server, and a thousand sessions lock the user out (1.2): the
password is sent once, then the cookie. A rejected password is never sent again (xnat-api 1.7).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from xnatctl.errors import AuthenticationError, Interrupted, NotXnat, UsageError, XnatctlError
from xnatctl.model.commands import Commands
from xnatctl.plugin.protocols import Credential
from xnatctl.redaction import Redactor
from xnatctl.xnat.http.cookies import SESSION, CookieStore, is_same_session, is_token, session_timeout
from xnatctl.xnat.http.responses import LOGIN_HINT, Response, browser_login, error_for
from xnatctl.xnat.http.urls import is_loopback

#: Opens, names and ends a session.
SESSION_PATH = "/data/JSESSION"
_GUEST = "guest"


class Probe(Protocol):
    """Sends one request with its own cookies; returns the response, whatever its status, and the cookies after it."""

    def __call__(
        self,
        method: str,
        path: str,
        cookies: Mapping[str, str],
        *,
        basic: tuple[str, str] | None = None,
        timeout: float = ...,
    ) -> tuple[Response, dict[str, str]]: ...


class Login:
    """Keeps the cookies of one client logged in to `server`.

    `generation` grows with every login, so that workers share a renewal. `name` is the login name as the server gives
    it, `session_timeout` how long the server keeps an idle session, in seconds.
    """

    def __init__(
        self,
        server: str,
        probe: Probe,
        cookies: CookieStore,
        credential_for: Callable[[], Credential],
        *,
        commands: Commands,
        redactor: Redactor,
    ) -> None:
        self._server = server
        self._probe = probe
        self._cookies = cookies
        self._commands = commands
        self._redactor = redactor
        self._credential_for = credential_for
        self._credential: Credential | None = None
        self._dead_sessions: set[str] = set()
        self._lock = threading.Lock()
        self._opened = False
        self._attempts = 0
        self._failure: XnatctlError | None = None
        self.generation = 0
        self.name: str | None = None
        self.session_timeout: float | None = None

    def first(self) -> None:
        """Log in with the first credential that works: an expired session token leads to the next source.

        Raises AuthenticationError for a rejected password, or when no source has a credential.
        """
        with self._lock:
            try:
                self._refuse_redirect()
                self._enter()
            except XnatctlError as error:
                self._failure = error
                raise

    def renew(self, generation: int) -> None:
        """The session of `generation` has ended: log in again, once for all workers.

        All workers that waited for this attempt get its error. A refused login is not tried again (xnat-api 1.7).
        """
        seen = self._attempts
        with self._lock:
            if isinstance(self._failure, AuthenticationError) or (self._failure and seen != self._attempts):
                raise self._failure
            if generation != self.generation:
                return  # another worker was faster
            self._failure = None
            try:
                self._again()
            except XnatctlError as error:
                self._failure = error
                raise
            finally:
                self._attempts += 1

    def _again(self) -> None:
        """Log in with the same password or alias token. After a session token comes the next source."""
        if self._credential is not None and self._credential.kind != "session":
            self._with_password(self._credential)
            return
        if self._credential is not None:
            self._dead_sessions.add(self._credential.secret)
        self._enter()

    def end(self, timeout: float) -> None:
        """End the session on the server, if this run opened it."""
        if self._opened:
            self._opened = False
            self._probe("DELETE", SESSION_PATH, self._cookies.current()[0], timeout=timeout)

    def keep(self) -> str:
        """Return the session token, and leave the session open at `end`."""
        self._opened = False
        return self._cookies.current()[0].get(SESSION, "")

    def _refuse_redirect(self) -> None:
        """Over plain http, send a request without a secret first: many sites redirect to https."""
        if self._server.startswith("http://") and not is_loopback(self._server):
            reply, _ = self._probe("GET", "/xapi/siteConfig/buildInfo", {})
            if 300 <= reply.status < 400:
                raise error_for(reply, self._server, "GET", "/xapi/siteConfig/buildInfo", self._commands)

    def _enter(self) -> None:
        while True:
            credential = self._credential_for()
            if credential.kind != "session":
                self._with_password(credential)
                return
            if credential.secret in self._dead_sessions:
                source = credential.source or "the cache"
                raise AuthenticationError(
                    f"The session token from {source} is not valid at {self._server} any more.",
                    hint=f"Log in again: {self._commands.command('auth', 'login')}",
                )
            if self._with_session(credential):
                return
            self._dead_sessions.add(credential.secret)

    def _with_session(self, credential: Credential) -> bool:
        """Whether the session is open and belongs to the user, not to a guest."""
        if not is_token(credential.secret):
            return False
        name, cookies = self._who({SESSION: credential.secret})
        wanted = credential.username.lower()
        if name is None or name.lower() == _GUEST or (wanted and name.lower() != wanted):
            return False
        if not is_same_session(credential.secret, cookies.get(SESSION)):
            return False  # the server opened another one beside it
        self._accept(name, credential, cookies, opened=False)
        return True

    def _with_password(self, credential: Credential) -> None:
        """Log in with Basic, then ask who we are. The old cookies stay in use until the new ones are checked."""
        if ":" in credential.username:
            raise UsageError("A user name for XNAT must not hold a colon.")
        reply, cookies = self._probe("POST", SESSION_PATH, {}, basic=(credential.username, credential.secret))
        if reply.status == 200 and is_token(reply.text.strip()):
            self._redactor.register_cookie(reply.text.strip())
        self._check(reply, credential)
        if SESSION not in cookies:
            # A proxy that strips cookies; the token is in the body as well (xnat-api 1.1).
            cookies[SESSION] = reply.text.strip()
        try:
            name, cookies = self._who(cookies)
            self._must_be(name, credential)
        except BaseException as error:
            # The login itself succeeded: end its session, quickly when the user pressed Ctrl-C.
            patient = isinstance(error, XnatctlError) and not isinstance(error, Interrupted)
            with suppress(XnatctlError):
                self._probe("DELETE", SESSION_PATH, cookies, timeout=10 if patient else 2)
            raise
        assert name is not None
        self._accept(name, credential, cookies, opened=True)

    def _must_be(self, name: str | None, credential: Credential) -> None:
        """Check the login name. Whom an alias token belongs to, only the server knows."""
        expected = credential.username.rsplit("/", 1)[-1].lower()  # "provider/login" (xnat-api 1.2)
        known = (name or _GUEST).lower()
        if known == _GUEST or (credential.kind == "password" and known != expected):
            raise AuthenticationError(
                f"{self._server} accepted the login of {credential.username} but treats it as "
                f"{'a guest' if known == _GUEST else name}.",
                hint="A proxy may remove cookies or the Authorization header; ask the administrator.",
            )

    def _accept(self, name: str, credential: Credential, cookies: dict[str, str], *, opened: bool) -> None:
        self._redactor.register_secret(cookies[SESSION])
        self._redactor.reveal([name])
        self._cookies.replace(cookies)
        self.name = name
        self.session_timeout = session_timeout(cookies)
        self._credential = credential
        self._opened = opened
        self.generation += 1

    def _who(self, cookies: dict[str, str]) -> tuple[str | None, dict[str, str]]:
        """The login name of the session of these cookies, None without one, and the cookies after the request.

        Raises NotXnat for an expired password or an inactive account (1.4), ServerError for a server in trouble.
        """
        reply, cookies = self._probe("GET", "/xapi/users/username", cookies)
        name = reply.text.strip()
        if reply.status == 200 and name and not reply.is_html and not any(map(str.isspace, name)):
            return name, cookies
        self._raise_trouble(reply, "/xapi/users/username")
        reply, cookies = self._probe("GET", "/data/auth", cookies)
        pieces = reply.text.split("'")  # User 'x' is logged in (xnat-api 1.1)
        if reply.status == 200 and len(pieces) >= 3 and not reply.is_html:
            return pieces[1], cookies
        self._raise_trouble(reply, "/data/auth")
        return None, cookies

    def _raise_trouble(self, reply: Response, path: str) -> None:
        """Raise the error of a response that says more than "not logged in": a server error, or a redirect."""
        if (reply.status >= 500 or reply.status == 429 or 300 <= reply.status < 400) and not browser_login(reply):
            raise error_for(reply, self._server, "GET", path, self._commands)

    def _check(self, reply: Response, credential: Credential) -> None:
        """Raise the error that the response to a login means."""
        server = self._server
        if reply.status == 401 and credential.kind == "token":
            raise AuthenticationError(
                f"{server} does not accept the alias token of {credential.source or 'the command line'}.",
                hint="By default an alias token is valid for two days. Issue another one in XNAT: Manage Alias Tokens.",
            )
        if reply.status == 401:
            raise AuthenticationError(
                f"{server} rejects the login of {credential.username} "
                f"(from {credential.source or 'the command line'}).",
                hint=LOGIN_HINT,
            )
        if reply.status in (404, 405) or browser_login(reply):
            raise NotXnat(
                f"{server} is not the address of an XNAT: there is no login for programs.",
                hint="The URL is that of the site's first page, without /app, /data and what follows them.",
                status=reply.status,
            )
        if not 200 <= reply.status < 300:
            raise error_for(reply, server, "POST", SESSION_PATH, self._commands)
        token = reply.text.strip()
        if reply.is_html or len(token) > 200 or not is_token(token):
            raise NotXnat(
                f"{server} answered the login with {'an HTML page' if reply.is_html else 'something'} "
                "that is not from an XNAT's API.",
                hint="Check the URL, its path included; a single-sign-on gateway may stand before the server.",
                status=reply.status,
            )
