"""Masks secrets in every text that leaves the process: output, log, journal, events, crash file.

Each secret is registered when it becomes known, in all its encodings. A peer may repeat a secret truncated or in
pieces, so its texts are masked more strictly when they arrive (`redact_foreign`). All output is masked again.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable

MASK = "[secret]"
#: Shorter secrets are masked only in texts of a peer, as whole words: elsewhere they would mask half of each line.
_SHORTEST = 4
#: In our own output, secrets from this length on are masked anywhere, shorter ones as whole words.
_LONG = 8
#: A run of this many characters of a secret reveals it.
_PIECE = 10
#: Session cookies of one run that are remembered: a server may send a new one with each answer.
_COOKIES = 128

#: The two alphabets of base64.
_ENCODERS = (base64.b64encode, base64.urlsafe_b64encode)
#: Secrets that may occur before they are registered: a session that the server has just opened.
_UNREGISTERED = re.compile(
    r"(?i)((?:JSESSIONID|XNAT_CSRF)=\\?\"?|(?:authorization|cookie)[\"']?\s*[:=,]\s*(?:b?[\"'])?(?:basic\s+|bearer\s+)?)"
    r"[^\s\"',;)\]\\]+"
)
_SIGNS = ("jsessionid", "xnat_csrf", "authorization", "cookie")
#: XNAT's words by which failures are classified (xnat-import 3.2); they are not masked, even if one is a secret.
_OURS = frozenset(
    {
        "concurrent", "data", "dicom", "file", "from", "implementation", "importer", "not", "object", "read", "same",
        "sends", "supported", "the", "unable", "unknown",
    }
)  # fmt: skip
#: The words of our answer to a refused login (LOGIN_HINT of `xnat.http.responses`).
_ANSWER = frozenset(
    {
        "account", "after", "again", "before", "browser", "disabled", "expired", "failed", "have", "here", "locked",
        "login", "many", "once", "open", "password", "rejects", "sessions", "tries", "trying", "verified", "wrong",
    }
)  # fmt: skip


class Redactor:
    """The secrets of one process, and the words that the user named openly. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._short: set[str] = set()
        self._cookies: OrderedDict[str, None] = OrderedDict()
        self._open: set[str] = set()
        #: All forms, longest first; replaced as a whole, so that readers need no lock.
        self._known: tuple[str, ...] = ()

    def register_secret(self, secret: str, username: str | None = None) -> None:
        """Mask the secret and its encodings from now on: percent, HTML, JSON, Python, CSV, hex, base64, HTTP Basic.

        Base64 and hex of a longer text that holds the secret are masked, too.
        """
        if not secret:
            return
        from urllib.parse import quote  # with what it imports, a tenth of the start of a command

        forms = set()
        if username is not None:
            forms |= _base64(f"{username}:{secret}")
        if len(secret) >= _SHORTEST:
            forms |= _base64(secret) | _written(secret)
        if len(secret) >= _LONG:
            forms |= _inside(secret)
        with self._lock:
            if len(secret) < _SHORTEST:
                self._short.add(secret)
            self._secrets.update(forms | {quote(form.encode("utf-8", "surrogateescape"), safe="") for form in forms})
            self._sort()

    def register_cookie(self, value: str) -> None:
        """Mask a cookie from now on; the part after a dot names a node of the server."""
        with self._lock:
            for form in (value, value.partition(".")[0]):
                if len(form) >= _LONG and form not in self._cookies:
                    self._cookies[form] = None
            while len(self._cookies) > _COOKIES:
                self._cookies.popitem(last=False)
            self._sort()

    def reveal(self, words: Iterable[str]) -> None:
        """Do not mask these words in our own output: the user named them openly (a user name, a label)."""
        with self._lock:
            self._open.update(word for word in words if word)

    def _sort(self) -> None:
        self._known = tuple(sorted({*self._secrets, *self._cookies}, key=len, reverse=True))

    def longest(self) -> int:
        """Length of the longest form of a secret, in characters."""
        return len(self._known[0]) if self._known else 0

    def redact(self, text: str) -> str:
        """Mask every registered secret, longest first, and everything that looks like a session cookie."""
        for form in self._known:
            if form in text:
                text = text.replace(form, MASK)
        return _without_unregistered(text)

    def redact_output(self, text: str) -> str:
        """Mask our own output: short secrets only as whole words, and no revealed words.

        The words of our message about a refused login are not masked: a mask in that message would reveal the password.
        """
        for form in self._known:
            if form not in text or form in self._open or form in _ANSWER:
                continue
            if len(form) >= _LONG:
                text = text.replace(form, MASK)
            else:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, text)
        return _without_unregistered(text)

    def redact_foreign(self, text: str) -> str:
        """Mask a text of a server, proxy or receiver: also pieces of secrets, and short secrets as whole words."""
        for form in self._known:
            if form.lower() in _OURS:
                continue
            if form in text:
                text = text.replace(form, MASK)
            if len(form) > _PIECE:
                text = _without_pieces(text, form)
            text = _without_stump(text, form)
        for form in tuple(self._short):
            if form.lower() not in _OURS:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, text)
        return _without_unregistered(text)


def _written(secret: str) -> set[str]:
    import html
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "surrogateescape")  # a variable need not be UTF-8
    percent = {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    percent |= {re.sub("%..", lambda code: code.group().lower(), form) for form in percent}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    doubled = {secret.replace('"', '""'), secret.replace("'", "''")}
    return {secret, *percent, *escaped, *doubled, html.escape(secret), html.escape(secret, quote=False)}


def _base64(text: str) -> set[str]:
    raw = text.encode("utf-8", "surrogateescape")
    return {encode(raw).decode().rstrip("=") for encode in _ENCODERS}


def _inside(secret: str) -> set[str]:
    """What the secret adds to the base64 of any longer text, at each of the three places in a group, and to its hex."""
    raw = secret.encode("utf-8", "surrogateescape")
    found = {raw.hex(), raw.hex().upper()}
    for before in range(3):
        # Characters that hold bits of neighbours are left out.
        first, end = -(-8 * before // 6), 8 * (before + len(raw)) // 6
        found |= {encode(bytes(before) + raw).decode()[first:end] for encode in _ENCODERS}
    return found


def _without_pieces(text: str, form: str) -> str:
    """Mask runs of characters of a form that are long enough to reveal it."""
    for start in range(len(form) - _PIECE + 1):
        piece = form[start : start + _PIECE]
        at = text.find(piece)
        while at >= 0:
            end, place = at + _PIECE, start + _PIECE
            while end < len(text) and place < len(form) and text[end] == form[place]:
                end, place = end + 1, place + 1
            text = text[:at] + MASK + text[end:]
            at = text.find(piece, at + len(MASK))
    return text


def _without_stump(text: str, form: str) -> str:
    """Mask the beginning of a form at the very end, where a text was truncated."""
    end = text.rstrip(".\u2026 ")
    for length in range(min(len(form) - 1, _PIECE), 3, -1):
        if end.endswith(form[:length]):
            return end[: len(end) - length] + MASK + text[len(end) :]
    return text


def _without_unregistered(text: str) -> str:
    low = text.lower()
    return _UNREGISTERED.sub(rf"\1{MASK}", text) if any(sign in low for sign in _SIGNS) else text
