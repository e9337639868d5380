"""One login with one credential, and the check who we are logged in as (xnat-api 1.1, 1.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from xnatctl.errors import AuthenticationError, Interrupted, NotXnat, UsageError, XnatctlError
from xnatctl.model.commands import Commands
from xnatctl.plugin.credentials import (
    ClientCertificate,
    Credential,
    Headers,
    Password,
    SessionToken,
    described,
    user_of,
)
from xnatctl.redaction import Redactor
from xnatctl.xnat.http.authentication import headers_of, is_refusal, refusal_of
from xnatctl.xnat.http.cookies import SESSION, HeaderList, is_same_session, is_token
from xnatctl.xnat.http.responses import Response, browser_login, error_for

#: Opens, names and ends a session.
SESSION_PATH = "/data/JSESSION"
_GUEST = "guest"


class Probe(Protocol):
    """Sends one request with its own headers and cookies; returns the response and the cookies after it."""

    def __call__(
        self,
        method: str,
        path: str,
        cookies: Mapping[str, str],
        *,
        headers: HeaderList | None = ...,
        timeout: float = ...,
    ) -> tuple[Response, dict[str, str]]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A login that the server accepted: its user, and what every request carries. `opened`: it opened a session."""

    credential: Credential
    name: str
    cookies: dict[str, str] = field(repr=False)
    headers: HeaderList = field(repr=False)
    opened: bool


class _Guest(AuthenticationError):
    """The server accepted a credential, and the session that it opened belongs to nobody."""


class Attempt:
    """Logs in to `server` with one credential at a time.

    `present` presents a client certificate on connections from now on.
    """

    def __init__(
        self,
        server: str,
        probe: Probe,
        *,
        present: Callable[[ClientCertificate], None],
        commands: Commands,
        redactor: Redactor,
    ) -> None:
        self._server = server
        self._probe = probe
        self._present = present
        self._commands = commands
        self._redactor = redactor

    def __call__(
        self, credential: Credential, *, cookies: Mapping[str, str], name: str | None
    ) -> Accepted | AuthenticationError:
        """Log in; returns the error of a refusal. Raises XnatctlError for anything else.

        `cookies` are those of the login before, which headers leave in place. `name` is the user of that login: what
        logged in before can do so again, so a new session that ends before its first request is opened once more.
        """
        result = self._once(credential, cookies, name)
        if isinstance(result, _Guest) and name is not None:
            result = self._once(credential, cookies, name)
        return result

    def _once(
        self, credential: Credential, cookies: Mapping[str, str], name: str | None
    ) -> Accepted | AuthenticationError:
        if isinstance(credential, SessionToken):
            return self._take_over(credential, name)
        if isinstance(credential, Password) and ":" in credential.username:
            raise UsageError("A user name for XNAT must not hold a colon.")
        if isinstance(credential, ClientCertificate):
            self._present(credential)
        headers, own, always = headers_of(credential)
        if isinstance(credential, Headers):  # keep the session, if the server still knows it
            own = {**cookies, **own}
        try:
            reply, given = self._probe("POST", SESSION_PATH, own, headers=headers)
        except AuthenticationError as error:  # TLS refuses the certificate
            return error
        if reply.status == 200 and is_token(reply.text.strip()):
            self._redactor.register_cookie(reply.text.strip())
        if (refusal := self._check(reply, credential)) is not None:
            return refusal
        # A proxy may strip cookies; the token is in the body as well (xnat-api 1.1).
        given.setdefault(SESSION, reply.text.strip())
        opened = not is_same_session(own.get(SESSION, ""), given[SESSION])
        return self._identify(credential, given, always, opened=opened, name=name)

    def _identify(
        self, credential: Credential, cookies: dict[str, str], headers: HeaderList, *, opened: bool, name: str | None
    ) -> Accepted | AuthenticationError:
        """Check who we are after a login; ends its session when we are somebody else."""
        patience = 0.0
        try:
            found, cookies = self._who(cookies, headers)
            refusal = self._must_be(found, credential, name)
            if refusal is None:
                return Accepted(
                    credential=credential, name=found or "", cookies=cookies, headers=headers, opened=opened
                )
            patience = 10
            return refusal
        except BaseException as error:
            # Quickly when the user pressed Ctrl-C.
            patience = 10 if isinstance(error, XnatctlError) and not isinstance(error, Interrupted) else 2
            raise
        finally:
            if patience and opened:
                with suppress(XnatctlError):
                    self._probe("DELETE", SESSION_PATH, cookies, headers=headers, timeout=patience)

    def _take_over(self, credential: SessionToken, name: str | None) -> Accepted | AuthenticationError:
        """Take a session over if it is open and belongs to the user, not to a guest."""
        refusal = AuthenticationError(
            f"{self._server} does not accept {described(credential)} any more.",
            hint=f"Log in again: {self._commands.command('auth', 'login')}",
        )
        if not is_token(credential.secret):
            return refusal
        found, cookies = self._who({SESSION: credential.secret}, [])
        if found is None or not _is_user(found, credential, name):
            return refusal
        if not is_same_session(credential.secret, cookies.get(SESSION)):
            return refusal  # the server opened another one beside it
        return Accepted(credential=credential, name=found, cookies=cookies, headers=[], opened=False)

    def _must_be(self, found: str | None, credential: Credential, name: str | None) -> AuthenticationError | None:
        """Compare the login name with the credential and the login before. An alias token has no user name."""
        if found is not None and _is_user(found, credential, name):
            return None
        guest = found is None or found.lower() == _GUEST
        kind = _Guest if guest else AuthenticationError
        return kind(
            f"{self._server} accepted {described(credential)} but treats it as {'a guest' if guest else found}.",
            hint="A proxy may remove cookies or the Authorization header; ask the administrator.",
        )

    def _who(self, cookies: dict[str, str], headers: HeaderList) -> tuple[str | None, dict[str, str]]:
        """The login name of the session of these cookies, None without one, and the cookies after the request.

        Raises NotXnat for an expired password or an inactive account (1.4), ServerError for a server in trouble.
        """
        reply, cookies = self._probe("GET", "/xapi/users/username", cookies, headers=headers)
        name = reply.text.strip()
        if reply.status == 200 and name and not reply.is_html and not any(map(str.isspace, name)):
            return name, cookies
        self._raise_trouble(reply, "/xapi/users/username")
        reply, cookies = self._probe("GET", "/data/auth", cookies, headers=headers)
        pieces = reply.text.split("'")  # User 'x' is logged in (xnat-api 1.1)
        if reply.status == 200 and len(pieces) >= 3 and not reply.is_html:
            return pieces[1], cookies
        self._raise_trouble(reply, "/data/auth")
        return None, cookies

    def _raise_trouble(self, reply: Response, path: str) -> None:
        """Raise the error of a response that says more than "not logged in": a server error, or a redirect."""
        if (reply.status >= 500 or reply.status == 429 or 300 <= reply.status < 400) and not browser_login(reply):
            raise error_for(reply, self._server, "GET", path, self._commands)

    def _check(self, reply: Response, credential: Credential) -> AuthenticationError | None:
        """Return the error of a refused login. Raises the error that any other response to a login means."""
        server = self._server
        if is_refusal(reply, credential, server):
            return refusal_of(credential, server)
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
        return None


def _is_user(found: str, credential: Credential, name: str | None) -> bool:
    """Whether a login name is no guest's, and both that of the credential and that of the login before, if any."""
    expected = {user_of(credential).rsplit("/", 1)[-1].lower(), (name or "").lower()} - {""}  # xnat-api 1.2
    return found.lower() != _GUEST and expected <= {found.lower()}
