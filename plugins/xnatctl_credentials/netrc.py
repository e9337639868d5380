"""The server's host in a netrc file."""

from __future__ import annotations

import netrc as netrc_module
import os
from pathlib import Path
from urllib.parse import urlsplit

from xnatctl.api import ConfigError, Credential, CredentialRequest, readable_by_others


class Netrc:
    """`$NETRC`, else `~/.netrc`. The host must match exactly; a `default` entry counts for https only."""

    def get(self, request: CredentialRequest) -> Credential | None:
        """Raises ConfigError for a file that others can read while it holds this host, or that cannot be parsed."""
        path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
        if not path.is_file():
            return None
        try:
            entries = netrc_module.netrc(str(path))
        except (OSError, netrc_module.NetrcParseError) as error:
            raise ConfigError(f"Cannot use {path}: {error}.") from error
        parts = urlsplit(request.server)
        host = parts.hostname or ""
        entry = entries.hosts.get(host) or (entries.hosts.get("default") if parts.scheme == "https" else None)
        if entry is None:
            return None
        if readable_by_others(path):
            raise ConfigError(f"{path} holds a password and others can read it.", hint=f"chmod 600 {path}")
        login, _, password = entry
        if not login or not password:
            return None
        return Credential(kind="password", username=login, secret=password, source=str(path))
