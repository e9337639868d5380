"""One login per run: once at the start, once more for all workers when the session ends early.

`/data/JSESSION` answers guests with 200 as well, so it proves nothing; who we are is asked afterwards (contract
xnat-api 1.1.1). Every Basic request without a cookie opens a session on the server, and a thousand of them lock the
user out (1.2): the password is sent once, then the cookie. A rejected password is never sent again (1.7).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from xnatctl.errors import AuthenticationError, NotXnat, XnatctlError
from xnatctl.plugin.protocols import Credential
from xnatctl.xnat.replies import LOGIN_HINT, Reply, error_for

if TYPE_CHECKING:
    from xnatctl.xnat.client import XnatClient

_SESSION = "/data/JSESSION"
_COOKIE = "JSESSIONID"


class Login:
    """Keeps one client logged in. `generation` grows with every login, so that workers share a renewal."""

    def __init__(self, client: XnatClient, credential_for: Callable[[], Credential]) -> None:
        self._client = client
        self._credential_for = credential_for
        self._credential: Credential | None = None
        self._lock = threading.Lock()
        self._opened = False
        self._failed: XnatctlError | None = None
        self.generation = 0

    def first(self) -> None:
        """Log in with the first credential that holds: an expired session token leads to the next source.

        Raises AuthenticationError for a rejected password, or when no source has anything.
        """
        with self._lock:
            self._enter()

    def renew(self, generation: int) -> None:
        """The session of `generation` has ended: log in again, once for all workers.

        Raises what the one try raised, to every worker.
        """
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if generation != self.generation:
                return  # another worker was faster
            try:
                if self._credential is not None and self._credential.kind != "session":
                    self._with_password(self._credential)
                else:
                    self._enter()
            except XnatctlError as error:
                self._failed = error
                raise

    def end(self) -> None:
        """Close the session on the server, if this run opened it."""
        if self._opened:
            self._opened = False
            self._client.request("DELETE", _SESSION, relogin=False, timeout=10)

    def keep(self) -> str:
        """The session token, which will then outlive this run."""
        self._opened = False
        return self._client.cookie(_COOKIE) or ""

    def _enter(self) -> None:
        while True:
            credential = self._credential_for()
            if credential.kind != "session":
                self._with_password(credential)
                return
            if self._with_session(credential):
                return

    def _with_session(self, credential: Credential) -> bool:
        """True when the cached session is alive and is the user's."""
        self._client.adopt({_COOKIE: credential.secret})
        name = self._who()
        if name is None or (credential.username and name.lower() != credential.username.lower()):
            self._client.adopt({})
            return False
        self._accept(name, credential, opened=False)
        return True

    def _with_password(self, credential: Credential) -> None:
        """POST with Basic, then ask who we are."""
        client = self._client
        reply = client.basic("POST", _SESSION, credential.username, credential.secret)
        _check(reply, client.server, credential)
        # A proxy may strip the cookie; the body holds the same token (1.1).
        client.adopt({_COOKIE: reply.text.strip(), **reply.cookies})
        name = self._who()
        expected = credential.username.rsplit("/", 1)[-1]  # "provider/login" (1.2)
        if name is None or name == "guest" or (credential.kind == "password" and name.lower() != expected.lower()):
            raise AuthenticationError(
                f"{client.server} took the login of {credential.username} but treats us as {name or 'a guest'}.",
                hint="A proxy may remove cookies or the Authorization header; ask the administrator.",
            )
        self._accept(name, credential, opened=True)

    def _accept(self, name: str, credential: Credential, *, opened: bool) -> None:
        self._client.login_name = name
        self._client.session_timeout = _session_timeout(self._client.cookie("SESSION_EXPIRATION_TIME"))
        self._credential = credential
        self._opened = opened
        self.generation += 1

    def _who(self) -> str | None:
        """The login name that the server knows us by; None when it knows us not."""
        client = self._client
        try:
            reply = client.request("GET", "/xapi/users/username", relogin=False, expect=(401, 403, 404))
            if reply.status == 200 and (name := reply.text.strip()):
                return name
            reply = client.request("GET", "/data/auth", relogin=False, expect=(401, 403))
        except NotXnat as error:
            if error.status in (301, 302, 303, 307, 308) and "browser" not in error.message:
                raise  # an expired password, an inactive account: say that
            return None
        pieces = reply.text.split("'")  # User 'x' is logged in (1.1)
        return pieces[1] if reply.status == 200 and len(pieces) >= 3 else None


def _check(reply: Reply, server: str, credential: Credential) -> None:
    """Raise what a login answer means."""
    if reply.status == 401:
        raise AuthenticationError(
            f"{server} rejects the login of {credential.username} (from {credential.source or 'the command line'}).",
            hint=LOGIN_HINT,
        )
    if not 200 <= reply.status < 300:
        raise error_for(reply, server, "POST", _SESSION)
    token = reply.text.strip()
    if reply.is_html or not token or len(token) > 200 or any(character.isspace() for character in token):
        raise NotXnat(
            f"{server} answered the login with {'an HTML page' if reply.is_html else 'something'} "
            "that is not from an XNAT's API.",
            hint="Check the URL, its path included; a single-sign-on gateway may stand before the server.",
            status=reply.status,
        )


def _session_timeout(cookie: str | None) -> float | None:
    """Seconds, from `"<now ms>,<timeout ms>"` with its quotes (1.3)."""
    pieces = (cookie or "").strip('"').split(",")
    return int(pieces[1]) / 1000 if len(pieces) == 2 and pieces[1].isdecimal() else None
