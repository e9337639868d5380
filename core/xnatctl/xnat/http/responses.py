"""Responses, and the errors that they mean (xnat-api 0.6, 1.4, 1.8, 7; xnat-import 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

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

#: Limit for a text of the server in a message, in characters.
_LONGEST = 300
#: Bytes that are kept of a response for a parser, so that a login page is recognised.
_BEGINNING = 65536
#: User name and password in a URL.
_USER = re.compile(r"((?:\A|:)//)[^/]*@")
_HEADING = re.compile(r"<h3>(.*?)</h3>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")
_PASSWORD_FIELD = re.compile(rb"<input[^>]+type=[\"']?password", re.IGNORECASE)
#: Pages of XNAT that another login would lead to again: an expired password, an inactive account, a new site.
_NO_LOGIN = ("XDATScreen_UpdateUser", "InactiveAccount", "Unconfigured.vm", "/setup")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


#: Limit for the digits of a number: enough for bytes and milliseconds.
_NUMBER = re.compile(r"[0-9]{1,18}")
#: Limit for the values of a JSON document that is read as a whole. A session of two thousand scans has fewer.
_MOST_VALUES = 200_000


def whole_number(text: str) -> int | None:
    """A number in decimal digits; None for any other text."""
    return int(text) if _NUMBER.fullmatch(text) else None


class EndlessAnswer(TransportError):
    """A response longer than any of XNAT. A retry would give the same."""


def tidy(text: str) -> str:
    """A text of the server as one line for a terminal: no control characters, no mark-up, bounded length."""
    from html import unescape

    plain = _CONTROL.sub(" ", unescape(_TAGS.sub(" ", text)))
    plain = " ".join(plain.split()).rstrip(".")
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


def foreign(text: str, redactor: Redactor) -> str:
    """`tidy`, with secrets masked, also those that contain entities or that are cut off at the end."""
    return redactor.redact_foreign(tidy(redactor.redact_foreign(text)))


def split_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    """The headers by lower-case name, and separately the `Set-Cookie` lines, which may contain secrets."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for key, field_value in raw:
        name, value = key.decode("ascii").lower(), field_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, cookies


@dataclass(frozen=True)
class Response:
    """A complete response: status, headers (lower-case names, without cookies) and body, which may be a secret.

    If the parser `fed` took the body, `content` is only its beginning. `clean` prepares texts of the server for
    messages, see `XnatClient.clean`.
    """

    status: int  # HTTP status
    headers: Mapping[str, str]  # names in lower case
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
        """Whether the body is an HTML page: a login page may come with any content type."""
        return _begins_html(self.content[:4096])

    def json(self) -> Any:
        """Decoded JSON. Raises NotXnat, for an HTML page too."""
        # Each value except the first follows one of these; a value needs many times the memory of its text.
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
                hint="A login page or a proxy may have answered: check the URL.",
                status=self.status,
            ) from None

    def lines(self) -> list[str]:
        """The lines of a uri-list, unchanged except for line ends; blank lines are dropped."""
        return [line for line in re.split(r"[\r\n]+", self.text) if line.strip()]

    @property
    def message(self) -> str:
        """The message of the server: the `<h3>` of a Restlet page, a title, or the text itself."""
        text = self.content[:_BEGINNING].decode("utf-8", "replace")
        for pattern in (_HEADING, _TITLE):
            if self.is_html and (match := pattern.search(text)):
                return self.clean(match.group(1))
        return "" if self.is_html else self.clean(text[: 4 * _LONGEST])


def read_body(
    encoding: str, pieces: Iterable[bytes], limit: int, server: str, fed: Feed | None, *, whole: bool
) -> bytes:
    """Read a body. Returns all of it when it is `whole` and no parser is `fed`, else its beginning.

    Raises NotXnat when the body is compressed, EndlessAnswer when it is longer than `limit` bytes.
    """
    if encoding.strip().lower() not in ("", "identity"):
        raise NotXnat(
            f"{server} sent a compressed response although no compression was requested.",
            hint="A proxy in front of the server may do that; ask the administrator.",
        )
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise EndlessAnswer(f"{server} sent a response longer than {limit // 2**20} MiB. It was not read.")
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
    """Return the response when it is expected or a success. Raises the error that it means otherwise."""
    if reply.status in expect:
        return reply
    if 200 <= reply.status < 300:
        if reply.is_html:
            raise NotXnat(
                f"{server} answered {method} {path} with an HTML page ({reply.message or 'no title'}), not with data.",
                hint="A login page or a proxy may have answered: check the URL, and that the login has not expired.",
                status=reply.status,
            )
        return reply
    raise error_for(reply, server, method, path, commands)


def error_for(  # noqa: PLR0911 - one per status
    reply: Response, server: str, method: str, path: str, commands: Commands
) -> XnatctlError:
    """The error for a status; `commands` makes the command of its hint."""
    status, message = reply.status, reply.message
    what = f"{message} (HTTP {status})" if message else f"HTTP {status}"
    if 300 <= status < 400:
        return _redirect(reply, server, commands)
    match status:
        case 401:
            return AuthenticationError(f"{server} no longer accepts the login: {what}.", hint=LOGIN_HINT)
        case 403:
            return PermissionDenied(f"{server} refuses {method} {path}: {what}.")
        case 404:
            return NotFound(f"{server} has no {path}, or you may not see it: {what}.")
        case 407:
            return ServerError(
                f"The proxy in front of {server} requires a login: {what}.",
                hint="Put its user and password into HTTP_PROXY or HTTPS_PROXY: http://user:password@proxy:port",
                status=status,
            )
        case 413:
            return TooLarge(
                f"A request was too large for {server} or for a proxy in front of it (HTTP 413).",
                hint="Ask the administrator to raise its limit (client_max_body_size in nginx).",
                status=status,
            )
        case 429 | 503:
            return Throttled(f"{server} is busy: {what}.", status=status, retry_after=retry_after(reply.headers))
        case 502 | 504:
            return ServerError(
                f"The proxy in front of {server} got no response from XNAT: {what}.",
                hint="XNAT may still be working on the request.",
                status=status,
            )
    return ServerError(f"{server} failed at {method} {path}: {what}.", status=status)


#: One status for many causes (xnat-api 1.2, 1.7).
LOGIN_HINT = (
    "The password may be wrong or expired, the account locked after failed attempts, not verified or disabled, or have "
    "too many sessions open. Try it once in the browser before trying again here."
)


def browser_login(reply: Response) -> bool:
    """Whether this is a redirect to XNAT's own login page."""
    return 300 <= reply.status < 400 and "Login.vm" in (reply.headers.get("location", "") or reply.text)


def asks_for_login(reply: Response, server: str) -> bool:
    """Whether a login page, or a redirect to one, came in place of what was asked for: of XNAT or of a gateway."""
    if 200 <= reply.status < 300:
        return reply.is_html and _PASSWORD_FIELD.search(reply.content[:_BEGINNING]) is not None
    if not 300 <= reply.status < 400:
        return False
    location = reply.headers.get("location", "")
    if any(page in location for page in _NO_LOGIN):
        return False
    try:
        target = urlsplit(urljoin(f"{server}/", location))
    except ValueError:
        return False
    return browser_login(reply) or target.hostname != urlsplit(server).hostname or "login" in target.path.lower()


def _redirect(reply: Response, server: str, commands: Commands) -> NotXnat:
    """The error for a redirect, which is meant for browsers (xnat-api 1.4)."""
    target = _target(reply)
    message = f"{server} redirects to {target or 'an address that it does not name'}."
    hint = (
        "If that address belongs to the server, use it as the URL. If it is a login page (single sign-on), a program "
        "cannot log in there: ask the administrator."
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
    """The target of a redirect, without user name, password and everything behind the path.

    A single-sign-on gateway puts the state of the login there, and XNAT the session (`;jsessionid=`).
    """
    target = re.split("[?#;]", reply.headers.get("location", "") or reply.text[:_BEGINNING], maxsplit=1)[0]
    return reply.clean(unquote(_USER.sub(r"\1", target)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date; None without a valid value."""
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
