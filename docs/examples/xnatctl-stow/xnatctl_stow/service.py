"""A DICOMweb service, as the options of the transport name it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from xnatctl.api import AuthenticationError, UsageError

_EXAMPLE = "For example --stow-url https://pacs.example.org/dicom-web."
_LONGEST = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Where the service is, and how it is asked."""

    url: str  # the base URL, without a slash at its end
    authorization: str = field(default="", repr=False)  # the value of the header; empty: none
    timeout: float = 300.0  # longest silence, in seconds

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Service:
        """Check the options. Raises UsageError, whose text contains no secret."""
        timeout, wait = float(options["stow_timeout"]), float(options["stow_wait"])
        if not 0 < timeout <= _LONGEST:
            raise UsageError(f"--stow-timeout must be between 0 and {_LONGEST:.0f} seconds, not {timeout:g}.")
        if not 0 <= wait <= _LONGEST:
            raise UsageError(f"--stow-wait must be between 0 and {_LONGEST:.0f} seconds, not {wait:g}.")
        return cls(url=_base(str(options["stow_url"] or "")), authorization=_authorization(options), timeout=timeout)

    @property
    def login_refused(self) -> AuthenticationError:
        """The error for HTTP 401."""
        return AuthenticationError(
            f"{self.url} does not accept the login (HTTP 401).",
            hint="Check STOW_TOKEN, or STOW_USER and STOW_PASSWORD.",
        )

    @property
    def authentication(self) -> str:
        """How requests are authenticated, for people: `Bearer`, `Basic` or `none`."""
        return self.authorization.partition(" ")[0] or "none"

    def masked(self, text: str) -> str:
        """A text of the service, without a secret that it repeats."""
        secret = self.authorization.partition(" ")[2]
        return text.replace(secret, "***") if secret else text


def address_of(options: Mapping[str, Any]) -> str:
    """The address of the service: two base URLs are two uploads. Raises UsageError."""
    return Service.from_options(options).url


def _base(text: str) -> str:
    try:
        url = urlsplit(text.strip())
        host, port = url.hostname, url.port
    except ValueError:
        raise UsageError("--stow-url is not a valid URL.", hint=_EXAMPLE) from None
    if url.username is not None or url.password is not None:
        raise UsageError(
            "--stow-url contains a user name or a password.",
            hint="Remove them from the URL, and set STOW_USER and STOW_PASSWORD, or STOW_TOKEN.",
        )
    if url.scheme not in ("http", "https") or not host or any(map(str.isspace, text.strip())):
        raise UsageError("--stow-url must be a URL that begins with http:// or https://.", hint=_EXAMPLE)
    if url.query or url.fragment:
        raise UsageError("--stow-url must not contain a query or a fragment.", hint=_EXAMPLE)
    path = url.path.rstrip("/")
    if path.endswith("/studies"):
        raise UsageError("--stow-url must be the base URL of the service, without /studies.", hint=_EXAMPLE)
    place = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{place}{f':{port}' if port is not None else ''}{path}"


def _authorization(options: Mapping[str, Any]) -> str:
    token, user, password = (str(options.get(name) or "") for name in ("stow_token", "stow_user", "stow_password"))
    if token and (user or password):
        raise UsageError(
            "A bearer token and a user name or password exclude each other.",
            hint="Set either STOW_TOKEN, or STOW_USER and STOW_PASSWORD.",
        )
    if bool(user) != bool(password):
        raise UsageError(
            "Basic authentication needs a user name and a password.", hint="Set STOW_USER and STOW_PASSWORD."
        )
    if token:
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise UsageError("The bearer token contains a character that no token has.", hint="Check STOW_TOKEN.")
        return f"Bearer {token}"
    if ":" in user:
        raise UsageError("--stow-user must not contain a colon.")
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else ""
