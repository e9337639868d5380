"""What an answer is, and which error it means (xnat-api 0.6, 1.4, 1.8, 7; xnat-import 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from xnatctl.errors import (
    AuthenticationError,
    NotFound,
    NotXnat,
    PermissionDenied,
    ServerError,
    Throttled,
    TooLarge,
    TransportError,
    XnatctlError,
)
from xnatctl.model.commands import Commands
from xnatctl.redaction import Redactor
from xnatctl.xnat.http.parsers import Feed

#: Longest text of a server that goes into a message.
_LONGEST = 300
#: As much is kept of an answer that is read as it comes (bytes), so that a login page is recognised.
_BEGINNING = 65536
#: User name and password in a URL.
_USER = re.compile(r"((?:\A|:)//)[^/]*@")
_HEADING = re.compile(r"<h3>(.*?)</h3>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


#: Digits of a number that is read: enough for bytes and milliseconds.
_NUMBER = re.compile(r"[0-9]{1,18}")
#: Values of a JSON document that is read as a whole, at most; a session of two thousand scans has fewer.
_MOST_VALUES = 200_000


def whole_number(text: str) -> int | None:
    """A number as a server writes it, in decimal digits; None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else None


class EndlessAnswer(TransportError):
    """An answer that is longer than any of XNAT's: asking again would bring the same."""


def tidy(text: str) -> str:
    """A server's text for one line at a terminal: no control characters, no mark-up, bounded."""
    from html import unescape

    plain = _CONTROL.sub(" ", unescape(_TAGS.sub(" ", text)))
    plain = " ".join(plain.split()).rstrip(".")
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


def foreign(text: str, redactor: Redactor) -> str:
    """`tidy`, without secrets: also those that were written with entities, or that end where the text is cut."""
    return redactor.redact_foreign(tidy(redactor.redact_foreign(text)))


def split_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    """The headers by lower-case name, and the `Set-Cookie` lines, which may hold secrets, apart."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for key, field_value in raw:
        name, value = key.decode("ascii"), field_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, cookies


@dataclass(frozen=True)
class Response:
    """An answer: status, headers (lower-case names, without cookies) and the whole body, which may be a secret.

    Of a body that was `fed` to somebody on the way only the beginning is left. `clean` makes the server's words fit
    for a message, see `XnatClient.clean`.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    fed: Any = field(default=None, repr=False)
    clean: Callable[[str], str] = field(default=tidy, repr=False)

    @property
    def text(self) -> str:
        """The body as text; XNAT often names no charset (xnat-api 2.1)."""
        return self.content.decode("utf-8", "replace")

    @property
    def content_type(self) -> str:
        """Media type without parameters, lower case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """By the body: a login page comes with any content type."""
        return _begins_html(self.content[:4096])

    def json(self) -> Any:
        """Decoded JSON. Raises NotXnat, for an HTML page too."""
        # Every value has one of these before it, or is the first; a value takes many times the memory of its text.
        if sum(map(self.content.count, (b",", b"[", b"{", b":"))) > 2 * _MOST_VALUES:
            raise NotXnat(
                f"The server answered with a JSON document of more than {_MOST_VALUES} values.", status=self.status
            )
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            what = "an HTML page" if self.is_html else "something that is not JSON"
            raise NotXnat(
                f"The server answered with {what}.",
                hint="A login page or a proxy may stand between: check the URL.",
                status=self.status,
            ) from None

    def lines(self) -> list[str]:
        """The lines of a uri-list exactly as they are, without line ends and blank lines."""
        return [line for line in re.split(r"[\r\n]+", self.text) if line.strip()]

    @property
    def said(self) -> str:
        """What the server says in words: the `<h3>` of a Restlet page, a title, or the text itself."""
        text = self.content[:_BEGINNING].decode("utf-8", "replace")
        for pattern in (_HEADING, _TITLE):
            if self.is_html and (match := pattern.search(text)):
                return self.clean(match.group(1))
        return "" if self.is_html else self.clean(text[: 4 * _LONGEST])


def read_body(
    encoding: str, pieces: Iterable[bytes], limit: int, server: str, fed: Feed | None, *, whole: bool
) -> bytes:
    """The `whole` body, or its beginning, also when it is `fed`; bounded in size, and by the sockets in time.

    Raises NotXnat for one that is compressed, TransportError for one that is too long.
    """
    if encoding.strip().lower() not in ("", "identity"):
        raise NotXnat(
            f"{server} sent a compressed answer although none was asked for.",
            hint="A proxy before the server does that; ask the administrator.",
        )
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise EndlessAnswer(f"{server} sent an answer longer than {limit // 2**20} MiB; it was not read.")
        if whole and fed is None:
            kept.append(piece)
        elif size - len(piece) < _BEGINNING:
            kept.append(piece[: _BEGINNING - size + len(piece)])
        if fed is not None:
            fed.feed(piece)
    return b"".join(kept)


def _begins_html(head: bytes) -> bool:
    """True for a document type or root element of HTML, perhaps behind an XML declaration and comments."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    while head.startswith((b"<?xml", b"<!--")):
        _, found, head = head.partition(b"?>" if head.startswith(b"<?") else b"-->")
        if not found:
            return False
        head = head.lstrip()
    return head.startswith((b"<!doctype html", b"<html"))


def judge(
    reply: Response, server: str, method: str, path: str, expect: tuple[int, ...], commands: Commands
) -> Response:
    """The reply itself when it is a success or expected, else the error that it means."""
    if reply.status in expect:
        return reply
    if 200 <= reply.status < 300:
        if reply.is_html:
            raise NotXnat(
                f"{server} answered {method} {path} with an HTML page ({reply.said or 'no title'}), not with data.",
                hint="A login page or a proxy stands between: check the URL, and that the login has not expired.",
                status=reply.status,
            )
        return reply
    raise error_for(reply, server, method, path, commands)


def error_for(  # noqa: PLR0911 - one per status
    reply: Response, server: str, method: str, path: str, commands: Commands
) -> XnatctlError:
    """The error that a status means; `commands` makes the command of its hint."""
    status, said = reply.status, reply.said
    what = f"{said} (HTTP {status})" if said else f"HTTP {status}"
    if 300 <= status < 400:
        return _redirect(reply, server, commands)
    match status:
        case 401:
            return AuthenticationError(f"{server} does not accept the login any more: {what}.", hint=LOGIN_HINT)
        case 403:
            return PermissionDenied(f"{server} refuses {method} {path}: {what}.")
        case 404:
            return NotFound(f"{server} has no {path}, or you may not see it: {what}.")
        case 407:
            return ServerError(
                f"The proxy before {server} wants a login: {what}.",
                hint="Put its user and password into HTTP_PROXY or HTTPS_PROXY: http://user:password@proxy:port",
                status=status,
            )
        case 413:
            return TooLarge(
                f"A request was too large for {server} or a proxy before it (HTTP 413).",
                hint="Ask the administrator to raise its limit (client_max_body_size in nginx).",
                status=status,
            )
        case 429 | 503:
            return Throttled(f"{server} is busy: {what}.", status=status, retry_after=retry_after(reply.headers))
        case 502 | 504:
            return ServerError(
                f"The proxy before {server} got no answer from XNAT: {what}.",
                hint="XNAT may still be working on the request.",
                status=status,
            )
    return ServerError(f"{server} failed at {method} {path}: {what}.", status=status)


#: One status for many causes (xnat-api 1.2, 1.7).
LOGIN_HINT = (
    "The password may be wrong or expired, the account locked after failed tries, not verified or disabled, or have "
    "too many sessions open. Try it once in the browser before trying again here."
)


def browser_login(reply: Response) -> bool:
    """True for a redirect to XNAT's own login page."""
    return 300 <= reply.status < 400 and "Login.vm" in (reply.headers.get("location", "") or reply.text)


def _redirect(reply: Response, server: str, commands: Commands) -> NotXnat:
    """A redirect is an answer for browsers (xnat-api 1.4)."""
    target = _target(reply)
    message = f"{server} redirects to {target or 'nowhere'}."
    hint = (
        "Use that address as the URL if it is the server's own. If it is a page for logging in (single sign-on), "
        "programs cannot pass it: ask the administrator."
    )
    if "XDATScreen_UpdateUser" in target:
        message = f"The password for {server} has expired."
        hint = "Set a new one in the browser, then run the command again."
    elif "InactiveAccount" in target:
        message, hint = f"The account on {server} is inactive.", "Ask the administrator to enable it."
    elif browser_login(reply):
        message, hint = (
            f"{server} asks for a login in the browser.",
            f"Log in again: {commands.command('auth', 'login')}",
        )
    elif target.rstrip("/").endswith(("/setup", "Unconfigured.vm")):
        message, hint = f"{server} is not set up yet.", "Ask the administrator to finish the site setup."
    return NotXnat(message, hint=hint, status=reply.status)


def _target(reply: Response) -> str:
    """Where a redirect leads, without user name and password, and without what follows the path.

    A single-sign-on gateway puts the state of a login there, and XNAT the session (`;jsessionid=`).
    """
    target = re.split("[?#;]", reply.headers.get("location", "") or reply.text[:_BEGINNING], maxsplit=1)[0]
    return reply.clean(unquote(_USER.sub(r"\1", target)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; None for nothing or nonsense."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 12:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
