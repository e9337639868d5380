"""The cookies of one server.

`http.cookiejar` is not used: it drops XNAT's cookies over http when the site's own URL is https, and it removes the
quotes of a value that must keep them (xnat-api 1.3).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from xnatctl.xnat.http.responses import whole_number

#: Names and values of headers, in order.
HeaderList = list[tuple[bytes, bytes]]

SESSION = "JSESSIONID"
EXPIRATION = "SESSION_EXPIRATION_TIME"

#: Limit for the cookies of one server (RFC 6265, 6.1). Further cookies are ignored.
_MOST = 50
#: Limit for the characters of a value (RFC 6265, 6.1).
_LONGEST = 4096
#: A session timeout that is none: a hundred years (milliseconds).
_ENDLESS = 100 * 365 * 86_400_000
#: A name and a value as in RFC 6265. A quoted value keeps its quotes.
_PAIR = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*([\x21-\x3a\x3c-\x7e]*)\s*\Z")


def is_token(text: str) -> bool:
    """Whether the text can be the value of a cookie. Nothing else gets into a header."""
    return bool(text) and _PAIR.match(f"x={text}") is not None


def received(lines: Iterable[str], context: str) -> dict[str, str | None]:
    """Name and value of each `Set-Cookie` line for our base URL; the value is None when the server deletes the cookie.

    `context` is the path of the base URL. Cookies of another application on the same host are skipped.
    """
    found: dict[str, str | None] = {}
    for line in lines:
        first, *rest = line.split(";")
        pair = _PAIR.match(first)
        if pair is None or len(pair.group(2)) > _LONGEST:
            continue
        attributes = dict(_attribute(piece) for piece in rest)
        if _is_for(attributes.get("path", ""), context):
            found[pair.group(1)] = None if _is_over(attributes) else pair.group(2)
    return found


def _attribute(piece: str) -> tuple[str, str]:
    name, _, value = piece.partition("=")
    return name.strip().lower(), value.strip()


def _is_for(path: str, context: str) -> bool:
    base = path.rstrip("/")
    return not base or f"{context}/".startswith(f"{base}/")


def _is_over(attributes: Mapping[str, str]) -> bool:
    """Whether the server deletes the cookie. Of `Expires` only the epoch counts, in case the clock here is wrong."""
    age = attributes.get("max-age", "")
    if age:
        return age.startswith("-") or age.strip("0") == ""
    try:
        return parsedate_to_datetime(attributes["expires"]).year < 1980
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return False


def merge(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    """The cookies after a response."""
    merged = {**old, **new}
    kept = {name: value for name, value in merged.items() if value is not None}
    if len(kept) > _MOST:
        ours = {name: value for name, value in kept.items() if name in old or name in (SESSION, EXPIRATION)}
        kept = dict([*ours.items(), *kept.items()][:_MOST])
    return kept


def sent(line: str) -> dict[str, str]:
    """The cookies of a `Cookie` header. Raises ValueError for a pair that is malformed."""
    found = {}
    for piece in filter(str.strip, line.split(";")):
        if (pair := _PAIR.match(piece)) is None:
            raise ValueError("a cookie is malformed")
        found[pair.group(1)] = pair.group(2)
    return found


def header(cookies: Mapping[str, str]) -> HeaderList:
    """The `Cookie` header, or an empty list without cookies.

    SESSION_EXPIRATION_TIME is not sent: it informs the client, and it is new with each response (xnat-api 1.3).
    """
    sent = "; ".join([f"{name}={value}" for name, value in cookies.items() if name != EXPIRATION])
    return [(b"Cookie", sent.encode("ascii"))] if sent else []


class CookieStore:
    """The cookies and headers of the login, which all workers send. A login replaces all and starts a new epoch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cookies: dict[str, str] = {}
        self._headers: HeaderList = []
        self._epoch = 0
        self._rotates = False

    def replace(self, cookies: Mapping[str, str], headers: HeaderList | None = None) -> None:
        """Take the cookies and headers of a login. Raises ValueError for a cookie that a header cannot carry."""
        for name, value in cookies.items():
            if _PAIR.match(f"{name}={value}") is None:
                raise ValueError(f"the cookie {name} is malformed")
        with self._lock:
            self._cookies = dict(cookies)
            self._headers = list(headers or [])
            self._epoch += 1

    @property
    def rotates(self) -> bool:
        """Whether the server gives a session new identifiers."""
        return self._rotates

    def current(self) -> tuple[Mapping[str, str], int]:
        """The cookies to send now, and their epoch."""
        with self._lock:
            return self._cookies, self._epoch

    def headers(self) -> tuple[HeaderList, int]:
        """The headers of a request to send now, `Cookie` included, and their epoch."""
        with self._lock:
            return [*self._headers, *header(self._cookies)], self._epoch

    def keep(self, new: Mapping[str, str | None], epoch: int) -> bool:
        """Take over the cookies of a response. False when they show that our session has ended.

        The server answers an expired cookie with a new session of a guest, and perhaps with status 200 (xnat-api 1.1.1,
        1.9). A late response to a request with older cookies must not replace a newer login.
        """
        with self._lock:
            if epoch != self._epoch:
                return True
            own, given = self._cookies.get(SESSION), new.get(SESSION)
            lost = own is not None and SESSION in new and not is_same_session(own, given) and not self._rotates
            others = {name: value for name, value in new.items() if not (lost and name == SESSION)}
            self._cookies = merge(self._cookies, others)
            return not lost

    def expect_rotation(self) -> None:
        """From now on a new session identifier does not mean that the session ended: this server rotates it."""
        with self._lock:
            self._rotates = True


def is_same_session(own: str, given: str | None) -> bool:
    """Whether the identifiers differ at most in the part after the dot: the cluster node, which may change."""
    return given is not None and own.partition(".")[0] == given.partition(".")[0]


def session_timeout(cookies: Mapping[str, str]) -> float | None:
    """The session timeout in seconds, from `"<now ms>,<timeout ms>"` with its quotes (xnat-api 1.3).

    None for one of more than a hundred years: such a session does not end.
    """
    pieces = cookies.get(EXPIRATION, "").strip('"').split(",")
    number = whole_number(pieces[1]) if len(pieces) == 2 else None
    return None if number is None or number > _ENDLESS else number / 1000
