"""Faults by script: which request, which time, what happens to it."""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from werkzeug import Request, Response

_PROXY_PAGE = (
    "<html>\r\n<head><title>{0} {1}</title></head>\r\n<body>\r\n"
    "<center><h1>{0} {1}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_LOGIN_PAGE = "<!DOCTYPE html>\n<html><head><title>XNAT Login</title></head><body>Please log in.</body></html>"

#: Actions that let the request do its work first.
AFTER = frozenset({"store-then-cut", "store-then-status"})


class Cut(Exception):
    """The connection ends here; `reset` by RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Faults:
    """A script of faults; every rule counts its own matches."""

    def __init__(self) -> None:
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def load(self, script: Iterable[Mapping[str, Any]]) -> None:
        """Replace the script; what the old one delays or holds goes on.

        A rule: `match` (method, path and query as regular expressions), one of `nth` (number, list, "every") or
        `probability` with `seed`, `times` (at most so often), `action` and its own fields: `status`, `page`
        (plain, proxy, login), `headers`, `seconds`, `bytes`.
        """
        with self._lock:
            self._over.set()
            self._over = over = threading.Event()
            self._rules = [
                {
                    **rule,
                    "_seen": 0,
                    "_done": 0,
                    "_over": over,
                    "_dice": random.Random(rule.get("seed", 0)),  # noqa: S311 - repeatable
                }
                for rule in script
            ]

    def end(self) -> None:
        """No more faults, and nothing is held any longer."""
        self.load(())

    def pick(self, request: Request) -> dict[str, Any] | None:
        """The rule that applies to this request, or None."""
        with self._lock:
            for rule in self._rules:
                if not _matches(rule.get("match", {}), request):
                    continue
                rule["_seen"] += 1
                if rule["_done"] < rule.get("times", 10**9) and _due(rule):
                    rule["_done"] += 1
                    return rule
        return None


def _matches(match: Mapping[str, str], request: Request) -> bool:
    values = {"method": request.method, "path": request.path, "query": request.query_string.decode()}
    return all(re.search(pattern, values[key]) for key, pattern in match.items())


def _due(rule: Mapping[str, Any]) -> bool:
    if "probability" in rule:
        return bool(rule["_dice"].random() < rule["probability"])
    nth = rule.get("nth", "every")
    return nth == "every" or rule["_seen"] in (nth if isinstance(nth, list) else [nth])


def before(rule: Mapping[str, Any], request: Request) -> Response | None:
    """What happens instead of the request; None lets it go on. Raises Cut."""
    action = rule["action"]
    if action == "delay":
        rule["_over"].wait(float(rule.get("seconds", 1)))
        return None
    if action in AFTER:
        return None
    if action == "cut-before-body":
        raise Cut
    if action == "rst":
        raise Cut(reset=True)
    if action == "cut-at-byte":
        left = int(rule.get("bytes", 0))
        while left > 0 and (piece := request.stream.read(min(left, 65536))):
            left -= len(piece)
        raise Cut
    if action == "hold":
        rule["_over"].wait(float(rule.get("seconds", 60)))
        raise Cut
    if action == "redirect":
        return Response("", int(rule.get("status", 302)), {"Location": rule.get("location", "/app/template/Login.vm")})
    return status(rule, request)


def status(rule: Mapping[str, Any], request: Request) -> Response:
    """A status with a page of the named kind; the body is read first, as a proxy that buffers does."""
    if rule.get("read", True):
        while request.stream.read(1 << 18):
            pass
    code = int(rule.get("status", 200 if rule.get("page") == "login" else 503))
    page = rule.get("page", "proxy")
    body = {"plain": "", "login": _LOGIN_PAGE}.get(page, _PROXY_PAGE.format(code, _phrase(code)))
    kind = "text/html" if page != "plain" else "text/plain"
    return Response(body, code, rule.get("headers"), content_type=kind)


def _phrase(code: int) -> str:
    return "Gateway Time-out" if code == 504 else HTTPStatus(code).phrase  # as nginx writes it


def cut(sock: socket.socket, *, reset: bool) -> None:
    """End a connection without an answer."""
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(sock.detach())  # close() would wait for the server's own files on the socket
        return
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
