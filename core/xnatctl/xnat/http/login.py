"""The login: once at the start of a run, and once for all workers when it ends early.

`/data/JSESSION` answers guests with 200 too, so the client then asks who it is logged in as (xnat-api 1.1.1). Every
Basic request without a cookie opens a session on the server, and a thousand sessions lock the user out (1.2): the
password is sent once, then the cookie. A rejected password is never sent again (xnat-api 1.7).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from xnatctl.errors import AuthenticationError, PluginUnavailable, UsageError, XnatctlError
from xnatctl.model.commands import Commands
from xnatctl.plugin.credentials import ClientCertificate, Credential, Headers, SessionToken
from xnatctl.redaction import Redactor
from xnatctl.xnat.http.attempt import SESSION_PATH, Attempt, Probe
from xnatctl.xnat.http.cookies import SESSION, CookieStore, HeaderList, is_same_session, session_timeout
from xnatctl.xnat.http.responses import error_for
from xnatctl.xnat.http.urls import is_loopback

#: Failures of a renewal that another attempt would only repeat.
_LASTING = (AuthenticationError, PluginUnavailable, UsageError)


class Renew(Protocol):
    """Returns another credential for the last one, which was `refused` or has expired; None: its source cannot."""

    def __call__(self, rejected: Credential, *, refused: bool) -> Credential | None: ...


class Login:
    """Keeps the requests of one client logged in to `server`.

    `generation` grows with every login, so that workers share a renewal. `name` is the login name as the server gives
    it, `session_timeout` how long the server keeps an idle session, in seconds. `present` presents a client
    certificate on connections from now on.
    """

    def __init__(
        self,
        server: str,
        probe: Probe,
        cookies: CookieStore,
        credential_for: Callable[[], Credential],
        *,
        renew: Renew | None,
        present: Callable[[ClientCertificate], None],
        commands: Commands,
        redactor: Redactor,
    ) -> None:
        self._server = server
        self._probe = probe
        self._cookies = cookies
        self._commands = commands
        self._redactor = redactor
        self._credential_for = credential_for
        self._renew_credential = renew
        self._attempt = Attempt(server, probe, present=present, commands=commands, redactor=redactor)
        self._credential: Credential | None = None
        self._expires: float | None = None
        self._headers: HeaderList = []
        self._dead_sessions: set[str] = set()
        #: The cookies of each session that this run opened, by session token.
        self._opened: dict[str, Mapping[str, str]] = {}
        self._lock = threading.Lock()
        self._attempts = 0
        self._failure: XnatctlError | None = None
        self.generation = 0
        #: Why a login that a source was asked to renew was not renewed.
        self.lost: AuthenticationError | None = None
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
        """The login of `generation` has ended: log in again, once for all workers.

        All workers that waited for this attempt get its error. A refused login is not tried again (xnat-api 1.7).
        """
        self._once(generation, self._again)

    def replace_expired(self) -> None:
        """Replace a credential that has expired before the next request, once for all workers."""
        if self._expires is not None and time.time() >= self._expires:
            self._once(self.generation, self._replace_expired)

    def _once(self, generation: int, action: Callable[[], None]) -> None:
        seen = self._attempts
        with self._lock:
            if isinstance(self._failure, _LASTING) or (self._failure and seen != self._attempts):
                raise self._failure
            if generation != self.generation:
                return  # another worker was faster
            self._failure = None
            try:
                action()
            except XnatctlError as error:
                self._failure = error
                raise
            finally:
                self._attempts += 1

    def _again(self) -> None:
        """Log in with the same credential or a renewed one. After a session token comes the next source."""
        if not isinstance(self._credential, Headers):  # a gateway may refuse headers while the session lives on
            self._forget(self._cookies.current()[0].get(SESSION, ""))
        if self._credential is None or not self._log_in(self._credential):
            self._enter()

    def _replace_expired(self) -> None:
        if self._credential is None or self._expires is None or time.time() < self._expires:
            return  # another worker was faster
        renewed = self._renewed(self._credential, None)
        if renewed is None:
            self._expires = None  # the server refuses it when it is really over
        else:
            self._use(renewed)

    def end(self, timeout: float) -> None:
        """End the sessions on the server that this run opened, the last one first, within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._opened and (left := deadline - time.monotonic()) > 0:
            token, cookies = self._opened.popitem()
            current = self._cookies.current()[0]
            if is_same_session(token, current.get(SESSION)):
                cookies = current  # its node may have changed
            self._probe("DELETE", SESSION_PATH, cookies, headers=self._headers, timeout=left)

    def keep(self) -> str:
        """Return the session token, and leave the session open at `end`."""
        token = self._cookies.current()[0].get(SESSION, "")
        self._forget(token)
        return token

    def shared(self) -> str | None:
        """Return the session token if it is all that another process needs to be logged in; else None."""
        if isinstance(self._credential, Headers | ClientCertificate) or self._cookies.rotates:
            return None
        return self._cookies.current()[0].get(SESSION)

    def renew_shared(self, rejected: str) -> str | None:
        """Return the session token that follows a rejected one, which several processes may have reported."""
        generation = self.generation
        if is_same_session(rejected, self._cookies.current()[0].get(SESSION)):
            self.renew(generation)
        return self.shared()

    def _forget(self, token: str) -> None:
        self._opened = {key: value for key, value in self._opened.items() if not is_same_session(key, token)}

    def _refuse_redirect(self) -> None:
        """Over plain http, send a request without a secret first: many sites redirect to https."""
        if self._server.startswith("http://") and not is_loopback(self._server):
            reply, _ = self._probe("GET", "/xapi/siteConfig/buildInfo", {})
            if 300 <= reply.status < 400:
                raise error_for(reply, self._server, "GET", "/xapi/siteConfig/buildInfo", self._commands)

    def _enter(self) -> None:
        while True:
            credential = self._credential_for()
            if isinstance(credential, SessionToken) and credential.secret in self._dead_sessions:
                source = credential.source or "the cache"
                raise AuthenticationError(
                    f"The session token from {source} is not valid at {self._server} any more.",
                    hint=f"Log in again: {self._commands.command('auth', 'login')}",
                )
            if self._log_in(credential):
                return

    def _log_in(self, credential: Credential) -> bool:
        """Log in with a credential, or with a renewed one if it has expired or is refused.

        Returns False for a session token that is over: the next source is asked.
        """
        over = credential.expires is not None and credential.expires <= time.time()
        renewed = self._renewed(credential, None) if over else None
        if renewed is None:
            refusal = self._try(credential)
            if refusal is None:
                return True
            renewed = None if over else self._renewed(credential, refusal)
            if renewed is None and isinstance(credential, SessionToken):
                self._dead_sessions.add(credential.secret)
                return False
            if renewed is None:
                raise refusal
        self._use(renewed)
        return True

    def _use(self, renewed: Credential) -> None:
        """Log in with a renewed credential. Raises AuthenticationError when the server refuses it, too."""
        self.lost = self._try(renewed)
        if self.lost is not None:
            raise self.lost

    def _renewed(self, rejected: Credential, refusal: AuthenticationError | None) -> Credential | None:
        """Another credential from the same source; None where it cannot renew. Raises AuthenticationError."""
        if self._renew_credential is None:
            return None
        try:
            return self._renew_credential(rejected, refused=refusal is not None)
        except AuthenticationError as error:
            hint = error.hint or (refusal.hint if refusal is not None else None)
            self.lost = AuthenticationError(error.message, hint=hint)
            raise self.lost from None

    def _try(self, credential: Credential) -> AuthenticationError | None:
        """Log in with one credential; returns the error of a refusal. Raises XnatctlError for anything else."""
        result = self._attempt(credential, cookies=self._cookies.current()[0], name=self.name)
        if isinstance(result, AuthenticationError):
            return result
        self._redactor.register_secret(result.cookies[SESSION])
        self._redactor.reveal([result.name])
        self._cookies.replace(result.cookies, result.headers)
        self._credential, self._expires = credential, credential.expires
        self._headers = result.headers
        if result.opened:
            self._opened[result.cookies[SESSION]] = result.cookies
        self.name = result.name
        self.session_timeout = session_timeout(result.cookies)
        self.generation += 1
        return None
