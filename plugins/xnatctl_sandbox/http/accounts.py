"""Logging in: Basic authentication, cookies, sessions, lock-out (xnat-api 1)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import threading
from dataclasses import dataclass, field

from werkzeug import Request, Response

from xnatctl_sandbox.world.records import User
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.tracking import StatusLists

_BROWSERS = ("MSIE", "Mozilla", "AppleWebKit", "Opera")
#: One text for a wrong password, a locked account and too many sessions (1.2).
FAILURE = (
    "Your login attempt failed because the username and password combination you provided was invalid or your user "
    "already has the maximum number of user sessions open. After %s failed login attempts, your user account will be "
    "locked."
)


@dataclass
class HttpSession:
    """One server session; `login` is None for a guest."""

    id: str
    login: str | None
    csrf: str
    last: float
    status_lists: StatusLists = field(default_factory=dict)


class Refused(Exception):
    """The login is refused with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Accounts:
    """Checks credentials and keeps sessions; time-outs follow the sandbox's clock."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._sessions: dict[str, HttpSession] = {}
        self._lock = threading.Lock()

    @property
    def timeout(self) -> float:
        """Seconds a session lives without a request; sliding (1.3)."""
        return _seconds(str(self._state.site["sessionTimeout"]))

    @property
    def token_life(self) -> float:
        """Seconds that an alias token lives after its creation (1.5)."""
        return _seconds(str(self._state.site["aliasTokenTimeout"]))

    def identify(self, request: Request) -> tuple[HttpSession, bool]:
        """The caller's session and whether it is new. Raises Refused for bad credentials, on open URLs too (1.1.1)."""
        session = self._alive(request.cookies.get("JSESSIONID"))
        header = request.headers.get("Authorization", "")
        if header.lower().startswith("basic "):
            user = self._check(header[6:])
            if session is not None and session.login == user.login:
                return session, False
            if self._count(user.login) >= int(str(self._state.site["concurrentMaxSessions"])):
                self._open(user.login)  # registered before the check: hammering prolongs the lock (1.2)
                raise Refused(self.failure())
            return self._open(user.login), True
        if session is not None:
            return session, False
        return self._open(None), True

    def failure(self) -> Response:
        """401 by `sendError`: the container's page, no WWW-Authenticate (1.2)."""
        message = FAILURE % self._state.site["maxFailedLogins"]
        body = f"<!doctype html><html><head><title>HTTP Status 401</title></head><body><h1>{message}</h1></body></html>"
        return Response(body, 401, content_type="text/html;charset=utf-8")

    def unauthenticated(self, request: Request, *, data_path: bool) -> Response:
        """401 with a challenge for scripts on data paths, a redirect to the login page for browsers (0.8)."""
        agent = request.headers.get("User-Agent", "")
        if data_path and not any(name in agent for name in _BROWSERS):
            response = Response("<html><body>401</body></html>", 401, content_type="text/html")
            response.headers["WWW-Authenticate"] = f'Basic realm="{self._state.site["siteId"]}"'
            return response
        return self.redirect("/app/template/Login.vm", request)

    @staticmethod
    def redirect(path: str, request: Request) -> Response:
        """A 302 as the container sends it."""
        return Response("", 302, {"Location": f"{request.script_root}{path}"}, content_type="text/html")

    def login(self, username: str, password: str) -> HttpSession | None:
        """Open a session as `services/auth` does; None for wrong credentials."""
        try:
            user = self._verify(username, password)
        except Refused:
            return None
        return self._open(user.login)

    def end(self, session: HttpSession) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(session.id, None)

    def end_all(self, login: str) -> None:
        """End every session of a user."""
        with self._lock:
            for key in [key for key, session in self._sessions.items() if session.login == login]:
                del self._sessions[key]

    def open_sessions(self, login: str | None = None) -> list[HttpSession]:
        """The open sessions of all users, or of one."""
        now = self._state.clock.now()
        with self._lock:
            return [
                session
                for session in self._sessions.values()
                if session.login is not None
                and (login is None or session.login == login)
                and now - session.last < self.timeout
            ]

    def csrf_ok(self, request: Request, session: HttpSession) -> bool:
        """False for a change that a browser sends without the CSRF token of its session (1.6)."""
        agent = request.headers.get("User-Agent", "")
        exempt = not any(name in agent for name in _BROWSERS) or re.search(
            "java|XNATDesktopClient", agent, re.IGNORECASE
        )
        if exempt or request.method in ("GET", "HEAD") or not self._state.site["enableCsrfToken"]:
            return True
        return session.login is None or request.args.get("XNAT_CSRF") == session.csrf

    def set_cookies(self, response: Response, session: HttpSession, path: str, *, new: bool) -> None:
        """Set the cookie of a new session, and in each response the second one, quoted because of its comma (1.3)."""
        secure = "; Secure" if str(self._state.site["siteUrl"]).startswith("https") else ""
        if new:
            response.headers.add("Set-Cookie", f"JSESSIONID={session.id}; Path={path}; HttpOnly{secure}")
        now, limit = int(self._state.clock.now() * 1000), int(self.timeout * 1000)
        response.headers.add("Set-Cookie", f'SESSION_EXPIRATION_TIME="{now},{limit}"; Version=1; Path={path}{secure}')

    def _alive(self, key: str | None) -> HttpSession | None:
        now = self._state.clock.now()
        with self._lock:
            session = self._sessions.get(key or "")
            if session is None:
                return None
            if now - session.last >= self.timeout:
                del self._sessions[session.id]
                return None
            session.last = now
            return session

    def _open(self, login: str | None) -> HttpSession:
        session = HttpSession(
            id=secrets.token_hex(16).upper(), login=login, csrf=secrets.token_hex(16), last=self._state.clock.now()
        )
        with self._lock:
            self._sessions[session.id] = session
        return session

    def _count(self, login: str) -> int:
        return len(self.open_sessions(login))

    def _check(self, encoded: str) -> User:
        try:
            username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(Response("", 500)) from None
        if not colon:
            raise Refused(Response("", 500))
        return self._verify(username, password)

    def _verify(self, username: str, password: str) -> User:
        """The account of these credentials, for an alias token its owner (1.5). Raises Refused."""
        state = self._state
        with state.lock:
            token = state.tokens.get(username)
            if token is not None and state.clock.now() - token.created >= self.token_life:
                del state.tokens[username]
                token = None
            if token is not None and secrets.compare_digest(token.secret, password):
                return state.users[token.login]
            user = state.users.get(username.rpartition("/")[2])
            if user is None:
                raise Refused(self.failure())
            now = state.clock.now()
            if user.locked_until is not None and now >= user.locked_until:
                user.locked_until, user.failed_logins = None, 0
            if user.locked_until is not None or not user.enabled:
                raise Refused(self.failure())
            if not secrets.compare_digest(user.password.encode(), password.encode()):
                user.failed_logins += 1
                if user.failed_logins == int(str(state.site["maxFailedLogins"])):
                    user.locked_until = now + 3600  # (1.7)
                raise Refused(self.failure())
            user.failed_logins = 0
            return user


def _seconds(interval: str) -> float:
    """Seconds of `15 minutes`, `2 days` and the like."""
    number, _, unit = interval.partition(" ")
    return float(number) * {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[unit.rstrip("s") or "minute"]
