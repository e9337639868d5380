"""URLs of an XNAT server: the base, the paths below it, the proxy in front of it (xnat-api 0.11, 7)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from xnatctl.errors import UsageError

#: What a path segment may hold besides letters and digits; the rest is percent-encoded as UTF-8.
_SAFE = "-_.~:@!$&'()*+,="
#: Encoded, these are refused by the server's firewall; `;` is refused as it is (xnat-api 0.11).
_UNADDRESSABLE = re.compile(r"[/\\%;\x00-\x1f\x7f]")
#: The same in a whole path, where some of them have been encoded by somebody else.
_REFUSED_PATH = re.compile(r"[\\;?#\x00-\x1f\x7f]|%(2f|5c|25|2e|3b|[01][0-9a-f]|7f)|//|/\.\.?(/|\Z)", re.IGNORECASE)


def is_segment(text: str) -> bool:
    """Whether a name can be one segment of a path of an XNAT server."""
    if not text or text in (".", "..") or _UNADDRESSABLE.search(text):
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def segment(text: str) -> str:
    """A name as a quoted path segment. Raises UsageError for a name that cannot be one."""
    if not is_segment(text):
        raise UsageError(
            f"{text!r} cannot be part of a URL of an XNAT server.",
            hint="Names with / \\ % ; or control characters cannot be addressed; use the ID instead.",
        )
    return quote(text, safe=_SAFE)


def url_path(*segments: str) -> str:
    """A path such as `/data/projects/<project>`: the first segment unchanged, every further one quoted."""
    first, *rest = segments
    return "/".join([first, *(segment(part) for part in rest)])


def check_path(path: str) -> str:
    """Return the path. Raises UsageError for a path that the server's firewall refuses."""
    if not path.startswith("/") or _REFUSED_PATH.search(path):
        raise UsageError(f"{readable(path)!r} is not a path that an XNAT server can be asked for.")
    return path


def readable(path: str) -> str:
    """A path as it is shown in messages."""
    return unquote(path)


def normalise_server(server: str) -> str:
    """The base URL without trailing slash, query or fragment; the context path is kept.

    Raises UsageError for anything that is not http or https, or that carries a user name.
    """
    text = server.strip()
    if "@" in unquote(text):  # also behind / ? #, which in a password end the host, and encoded
        raise UsageError("A server URL must not hold a user name or password.", hint="Use --username, or XNAT_USER.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError("The server URL is not a URL.", hint="Write it like https://xnat.example.org.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{text!r} is not a server URL.", hint="Write it like https://xnat.example.org.")
    host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
    netloc = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/")
    if path:
        check_path(path)
    return f"{parts.scheme}://{netloc}{path}"


def is_loopback(server: str) -> bool:
    """Whether the server runs on this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyAddress:
    """An HTTP proxy. `url` is without user name and password."""

    url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def proxy_for(server: str) -> ProxyAddress | None:
    """The proxy that the environment names for this server (`HTTPS_PROXY`, `ALL_PROXY`, ... unless `NO_PROXY`).

    Raises UsageError for a proxy that we cannot speak to.
    """
    parts = urlsplit(server)
    proxies = getproxies()
    text = proxies.get(parts.scheme) or proxies.get("all")
    if not text or proxy_bypass(parts.netloc) or _is_in_network(parts.hostname or "", proxies.get("no", "")):
        return None
    try:
        proxy = urlsplit(text if "://" in text else f"http://{text}")
        port = proxy.port
    except ValueError:
        raise _unusable(parts.scheme) from None
    if proxy.scheme != "http" or not proxy.hostname or "@" in f"{proxy.path}{proxy.query}{proxy.fragment}":
        raise _unusable(parts.scheme)
    host = proxy.hostname if ":" not in proxy.hostname else f"[{proxy.hostname}]"
    return ProxyAddress(
        url=f"http://{host}:{port or 80}",
        username=unquote(proxy.username or ""),
        password=unquote(proxy.password or ""),
    )


def _is_in_network(host: str, no_proxy: str) -> bool:
    """Whether the address is in a network of NO_PROXY (`10.0.0.0/8`, `::1`), which the standard library ignores."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        with suppress(ValueError):
            if address in ip_network(entry.strip(), strict=False):
                return True
    return False


def _unusable(scheme: str) -> UsageError:
    return UsageError(
        f"The proxy that {scheme.upper()}_PROXY or ALL_PROXY names cannot be used: only http:// proxies can.",
        hint="Write it like http://proxy.example.org:3128, or name the server in NO_PROXY.",
    )
