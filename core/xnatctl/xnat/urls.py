"""URLs of an XNAT server: what a base URL is, and which names can be part of a path."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from xnatctl.errors import UsageError

#: What a path segment may hold besides letters and digits; the rest is percent-encoded as UTF-8.
_SAFE = "-_.~:@!$&'()*+,="
#: Encoded, these are refused by the server's firewall; `;` is refused as it is (contract xnat-api 0.11).
_UNADDRESSABLE = re.compile(r"[/\\%;\x00-\x1f\x7f]")


def segment(text: str) -> str:
    """One path segment, quoted. Raises UsageError for a name that no URL of an XNAT can carry."""
    if not text or text in (".", "..") or _UNADDRESSABLE.search(text):
        raise UsageError(
            f"{text!r} cannot be part of a URL of an XNAT server.",
            hint="Names with / \\ % ; or control characters cannot be addressed; use the ID instead.",
        )
    return quote(text, safe=_SAFE)


def url_path(*segments: str) -> str:
    """`/data/projects/<project>/...`: the first piece as it is, every further one quoted."""
    first, *rest = segments
    return "/".join([first, *(segment(part) for part in rest)])


def normalise_server(server: str) -> str:
    """The base URL without trailing slash, query or fragment; the context path is kept.

    Raises UsageError for anything that is not http or https, or that carries a user name.
    """
    text = server.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError(f"{text!r} is not a URL.", hint="Write it like https://xnat.example.org.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{text!r} is not a server URL.", hint="Write it like https://xnat.example.org.")
    if parts.username is not None:
        raise UsageError("A server URL must not hold a user name or password.", hint="Use --username, or XNAT_USER.")
    host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
    netloc = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"
