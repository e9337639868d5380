"""The cookies of one server, sent by hand to that server alone.

A cookie jar would drop XNAT's cookies over http when the site's own URL is https, unquote the one that must stay
quoted, and send others to other hosts (xnat-api 1.3).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from xnatctl.xnat.http.responses import whole_number

SESSION = "JSESSIONID"
EXPIRATION = "SESSION_EXPIRATION_TIME"

#: Cookies of one server at most (RFC 6265, 6.1): what a server adds beyond that is ignored.
_MOST = 50
#: Characters of a value at most (RFC 6265, 6.1).
_LONGEST = 4096
#: A name and a value as RFC 6265 lets a server write them; the quotes of a quoted value stay.
_PAIR = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*([\x21-\x3a\x3c-\x7e]*)\s*\Z")


def is_token(text: str) -> bool:
    """True for what can stand as a cookie's value; anything else never gets into a header."""
    return bool(text) and _PAIR.match(f"x={text}") is not None


def received(lines: Iterable[str], context: str) -> dict[str, str | None]:
    """Name and value of each `Set-Cookie` line that is for us; None = the server takes it back.

    `context` is the path of the base URL. A cookie of another application on the same host is left alone.
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
    """True for a cookie that has ended already. Only the epoch counts, so a wrong clock here does no harm."""
    age = attributes.get("max-age", "")
    if age:
        return age.startswith("-") or age.strip("0") == ""
    try:
        return parsedate_to_datetime(attributes["expires"]).year < 1980
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return False


def merge(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, str]:
    """The cookies after an answer."""
    merged = {**old, **new}
    kept = {name: value for name, value in merged.items() if value is not None}
    if len(kept) > _MOST:
        ours = {name: value for name, value in kept.items() if name in old or name in (SESSION, EXPIRATION)}
        kept = dict([*ours.items(), *kept.items()][:_MOST])
    return kept


def header(cookies: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The request header, or nothing.

    The time of expiration is not sent: it is news for the client, and other news with each response (xnat-api 1.3).
    """
    sent = "; ".join([f"{name}={value}" for name, value in cookies.items() if name != EXPIRATION])
    return [(b"Cookie", sent.encode("ascii"))] if sent else []


class CookieStore:
    """What all workers send. Replaced as a whole by a login; `epoch` counts that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cookies: dict[str, str] = {}
        self._epoch = 0
        self._rotates = False

    def replace(self, cookies: Mapping[str, str]) -> None:
        """A login's cookies. Raises ValueError for what cannot be written into a header."""
        for name, value in cookies.items():
            if _PAIR.match(f"{name}={value}") is None:
                raise ValueError(f"the cookie {name} is malformed")
        with self._lock:
            self._cookies = dict(cookies)
            self._epoch += 1

    def current(self) -> tuple[Mapping[str, str], int]:
        """The cookies to send now, and the epoch that they are of."""
        with self._lock:
            return self._cookies, self._epoch

    def keep(self, new: Mapping[str, str | None], epoch: int) -> bool:
        """Take over what an answer set; False when it shows that our session has ended.

        The server gives a stranger's session to whoever comes with an expired cookie, and may answer 200 to the guest
        (xnat-api 1.1.1, 1.9). A late answer to an old cookie must not replace a newer login.
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
        """A session that a fresh login opened was replaced as well: this server changes the identifier as it goes."""
        with self._lock:
            self._rotates = True


def is_same_session(own: str, given: str | None) -> bool:
    """The part after the dot names a cluster node, which may change under way."""
    return given is not None and own.partition(".")[0] == given.partition(".")[0]


def session_timeout(cookies: Mapping[str, str]) -> float | None:
    """Seconds, from `"<now ms>,<timeout ms>"` with its quotes (xnat-api 1.3)."""
    pieces = cookies.get(EXPIRATION, "").strip('"').split(",")
    number = whole_number(pieces[1]) if len(pieces) == 2 else None
    return None if number is None else number / 1000
