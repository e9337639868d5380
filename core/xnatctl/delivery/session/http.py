"""Requests of transports to the XNAT server of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xnatctl.errors import UsageError
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import Response, XnatClient
from xnatctl.xnat.http.attempt import SESSION_PATH
from xnatctl.xnat.http.urls import check_path, readable

#: What a transport can ask for.
_ROOTS = ("/data/", "/xapi/")
#: Where the server gives out session and alias tokens, and ends sessions.
_LOGIN = (SESSION_PATH, "/data/services/tokens")


class SessionHttp:
    """The `Http` of one run: the client, for paths of its server alone."""

    def __init__(self, client: XnatClient) -> None:
        self._client = client

    def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Response:
        """See `Http`."""
        return self._request("GET", path, params)

    def put(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Response:
        """See `Http`."""
        return self._request("PUT", path, params, body=body, content_type=content_type, on_bytes=on_bytes)

    def post(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Response:
        """See `Http`."""
        return self._request("POST", path, params, body=body, content_type=content_type, on_bytes=on_bytes)

    def delete(self, path: str, *, params: Mapping[str, str] | None = None) -> Response:
        """See `Http`."""
        return self._request("DELETE", path, params)

    def _request(self, method: str, path: str, params: Mapping[str, str] | None, **more: Any) -> Response:
        return self._client.request(method, _checked(path), params=params, **more)


def _checked(path: str) -> str:
    """The path. Raises ValueError for one that a transport has no business with."""
    try:
        check_path(path)
    except UsageError as error:
        raise ValueError(error.message) from None
    if not path.startswith(_ROOTS) or readable(path).startswith(_LOGIN):
        raise ValueError(f"{readable(path)!r} is not a path that a transport can ask for")
    return path
