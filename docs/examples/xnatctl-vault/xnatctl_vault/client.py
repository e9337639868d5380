"""One request to the vault, with the standard library. It follows no redirect, so the token goes to no other server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from xnatctl.api import AuthenticationError, ConfigError, ConnectionFailed, ServerError

#: Time limit of a step, in seconds, and limit of an answer, in bytes.
_PATIENCE = 10.0
_LARGEST = 64 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def read(address: str, path: str, token: str) -> Mapping[str, Any] | None:
    """The entry at `path`; None when there is none.

    Raises ConfigError for an address that cannot be used, ConnectionFailed when the vault does not answer,
    AuthenticationError when it refuses the token, ServerError for any other answer.
    """
    connection, base = _connect(address)
    try:
        connection.request("GET", f"{base}/v1/{quote(path.strip('/'))}", headers={"X-Vault-Token": token})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(_LARGEST)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConnectionFailed(f"The vault at {address} does not answer: {reason}.") from None
    except ValueError:
        raise ConfigError("The path of the entry, or the token, holds characters that HTTP cannot carry.") from None
    finally:
        connection.close()
    if status == 404:
        return None
    if status in (401, 403):
        raise AuthenticationError(
            f"The vault at {address} refuses the token for the entry {path}.", hint="Log in to the vault again."
        )
    return _document(address, status, body)


def _document(address: str, status: int, body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body) if status == 200 else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ServerError(f"The vault at {address} gives no entry (HTTP {status}).", status=status)
    return document


def _connect(address: str) -> tuple[HTTPConnection, str]:
    """A connection, and the path of the base URL. Raises ConfigError."""
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host and url.scheme == "https":
        return HTTPSConnection(host, port, timeout=_PATIENCE), url.path.rstrip("/")
    if host in _LOOPBACK and url.scheme == "http":
        return HTTPConnection(host, port, timeout=_PATIENCE), url.path.rstrip("/")
    raise ConfigError(
        "The address of the vault must begin with https://, or name this machine.",
        hint="For example https://vault.example.org:8200",
    )
