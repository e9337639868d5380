"""Responses that scripted faults give instead of the server's."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from werkzeug import Request, Response
from werkzeug.datastructures import Headers

_PROXY_PAGE = (
    "<html>\r\n<head><title>{0} {1}</title></head>\r\n<body>\r\n"
    "<center><h1>{0} {1}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
#: XNAT gives the reason of a failure in this form (xnat-import 3.1).
_STATUS_PAGE = "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n<h3>{0}</h3>\n</body>\n</html>\n"
_LOGIN_PAGE = "<!DOCTYPE html>\n<html><head><title>XNAT Login</title></head><body>Please log in.</body></html>"


def answer(rule: Mapping[str, Any], request: Request) -> Response:
    """The response of a rule whose action gives one."""
    match rule["action"]:
        case "redirect":
            location = str(rule.get("location", "/app/template/Login.vm"))
            return _AsWritten("", int(rule.get("status", 302)), {"Location": _on_the_wire(location)})
        case "echo":
            return _echo(rule, request)
        case "flood":
            return _flood(rule, request)
    return status(rule, request)


def status(rule: Mapping[str, Any], request: Request) -> Response:
    """A status with a page of the named kind; reads the body first, as a proxy that buffers does."""
    if rule.get("read", True):
        _read(request)
    code = int(rule.get("status", 200 if rule.get("page") == "login" else 503))
    page = rule.get("page", "proxy")
    said = str(rule.get("text", ""))
    pages = {"plain": said, "login": _LOGIN_PAGE, "xnat": _STATUS_PAGE.format(html.escape(said))}
    body = pages.get(page, _PROXY_PAGE.format(code, _phrase(code)))
    kind = "text/html" if page != "plain" else "text/plain"
    headers = {name: _on_the_wire(str(value)) for name, value in (rule.get("headers") or {}).items()}
    return _AsWritten(body, code, headers, content_type=headers.pop("Content-Type", kind))


def _phrase(code: int) -> str:
    return "Gateway Time-out" if code == 504 else HTTPStatus(code).phrase  # as nginx writes it


class _AsWritten(Response):
    """Sends headers unchanged: werkzeug would correct a Location, and fail where it cannot."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """The given headers, and Content-Length where it is known."""
        headers = Headers(self.headers)
        if self.is_sequence:
            headers["Content-Length"] = str(sum(map(len, self.response)))
        return headers


def _on_the_wire(value: str) -> str:
    """The value in UTF-8, encoded as WSGI wants it."""
    return re.sub(r"[\r\n]", " ", value).encode("utf-8", "surrogateescape").decode("latin-1")


def _read(request: Request) -> bytes:
    """Read the body; returns its first part."""
    first = b""
    while piece := request.stream.read(1 << 18):
        first = first or piece[:65536]
    return first


def _echo(rule: Mapping[str, Any], request: Request) -> Response:
    """Repeat the request in the body or in headers, credentials included, as some gateways do."""
    body = _read(request).decode("latin-1")
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    where = rule.get("where", "body")
    headers = {f"X-Echo-{name}": _on_the_wire(value) for name, value in request.headers.items()}
    said = "\n".join([f"{request.method} {request.full_path}", *lines, "", body])
    return _AsWritten(
        f"Upstream error. The request was:\n{said}" if where != "headers" else "Upstream error.",
        int(rule.get("status", 502)),
        headers if where != "body" else None,
        content_type="text/plain",
    )


def _flood(rule: Mapping[str, Any], request: Request) -> Response:
    """`head`, then `unit` for `count` times or without end, then `tail`; `{n}` in a unit is its number."""
    _read(request)
    unit, count, over = str(rule.get("unit", "x")), rule.get("count"), rule["_over"]

    def pieces() -> Iterator[bytes]:
        yield str(rule.get("head", "")).encode()
        sent, group = 0, max(1, 65536 // max(1, len(unit)))
        while not over.is_set() and (count is None or sent < count):
            number = group if count is None else min(group, int(count) - sent)
            if "{n}" in unit:
                yield "".join(unit.replace("{n}", str(sent + n)) for n in range(number)).encode()
            else:
                yield (unit * number).encode()
            sent += number
        yield str(rule.get("tail", "")).encode()

    return Response(pieces(), int(rule.get("status", 200)), content_type=str(rule.get("type", "application/json")))
