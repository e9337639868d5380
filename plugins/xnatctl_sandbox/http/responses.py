"""Responses as XNAT gives them: status pages with the reason in `<h3>`, plain text, uri-lists, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from typing import Any

from werkzeug import Response


def status_page(status: int, description: str = "") -> Response:
    """Restlet's page: no JSON, the reason in `<h3>` (xnat-api 0.6)."""
    text = description or HTTPStatus(status).phrase
    body = (
        "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n"
        f"<h3>{escape(text, quote=False)}</h3><p>You can get technical details "
        '<a href="http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html">here</a>.<br>\nPlease continue your visit '
        'at our <a href="/">home page</a>.\n</p>\n</body>\n</html>\n'
    )
    return Response(body, status, content_type="text/html; charset=UTF-8")


def text_response(body: str, status: int = 200, content_type: str = "text/plain") -> Response:
    """A response of plain text, or of another content type."""
    return Response(body, status, content_type=content_type)


def uri_list(uris: Iterable[str]) -> Response:
    """One URI per line, each line ended by CRLF (xnat-import 2)."""
    return text_response("".join(f"{uri}\r\n" for uri in uris), content_type="text/uri-list")


def json_response(document: Any, status: int = 200) -> Response:
    """JSON without a charset parameter (xnat-api 2.1)."""
    response = Response(json.dumps(document), status)
    response.headers["Content-Type"] = "application/json"
    return response
