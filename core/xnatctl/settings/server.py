"""Validates and normalises the URL of a server."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, unquote, urlsplit

from xnatctl.errors import ConfigError

_HINT = "Write it like https://xnat.example.org, with the context path when there is one."
_DEFAULT_PORTS = {"http": 80, "https": 443}


def server_url(text: str, origin: str) -> str:
    """The URL without trailing slash and default port, host in lower case; the context path is kept.

    `origin` says where the text comes from. Raises ConfigError, and never shows a text that may hold a password.
    """
    stripped = text.strip()
    if "@" in unquote(stripped):  # also behind / ? # and ;, which a password may hold, and encoded
        raise ConfigError(
            f"The URL of {origin} holds a user name or password; a URL ends up in logs and listings.",
            hint="Take it out of the URL, and use --username with --password-stdin, or XNAT_USER and XNAT_PASS.",
        )
    shown = f": {stripped!r}"
    try:
        parts = urlsplit(stripped)
        port = parts.port
    except ValueError:
        raise ConfigError(f"The URL of {origin} cannot be understood{shown}.", hint=_HINT) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or _has_blank(stripped):
        raise ConfigError(f"The URL of {origin} is not an http or https URL{shown}.", hint=_HINT)
    if parts.query or parts.fragment:
        raise ConfigError(f"The URL of {origin} must end before ? and #{shown}.", hint=_HINT)
    return f"{parts.scheme}://{_host(parts, port)}{parts.path.rstrip('/')}"


def _has_blank(text: str) -> bool:
    return any(character.isspace() or not character.isprintable() for character in text)


def _host(parts: SplitResult, port: int | None) -> str:
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"


def is_plain_text(url: str) -> bool:
    """True if passwords are sent unencrypted: http to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_this_machine(parts.hostname or "")


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
