"""The server's host in a netrc file."""

from __future__ import annotations

import netrc as netrc_module
import os
from pathlib import Path
from urllib.parse import urlsplit

from xnatctl.api import ConfigError, CredentialRequest, Password
from xnatctl.api.system import IS_WINDOWS, how_to_restrict, readable_by_others

_ELSE = "Fix it, or remove netrc from credential_sources in the configuration file."


class Netrc:
    """`$NETRC`, else `~/.netrc`, on Windows also `~/_netrc`.

    The host must match exactly; a `default` entry would go to whatever host was typed.
    """

    def get(self, request: CredentialRequest) -> Password | None:
        """Raises ConfigError for a file that others can read while it holds this host, or that cannot be parsed."""
        path = _path()
        if path is None or not path.is_file():
            return None
        try:
            entry = netrc_module.netrc(str(path)).hosts.get(urlsplit(request.server).hostname or "")
        except netrc_module.NetrcParseError as error:
            # Its text quotes the file, where a password may stand.
            raise ConfigError(f"Cannot use {path}: it is not netrc near line {error.lineno}.", hint=_ELSE) from None
        except OSError as error:
            raise ConfigError(f"Cannot use {path}: {error.strerror}.", hint=_ELSE) from None
        except ValueError:
            raise ConfigError(f"Cannot use {path}: it is not text.", hint=_ELSE) from None
        if entry is None:
            return None
        login, _, password = entry
        if not login or not password:
            return None
        if readable_by_others(path):
            raise ConfigError(f"{path} contains a password and is readable by others.", hint=how_to_restrict(path))
        return Password(username=login, secret=password, source=str(path))


def _path() -> Path | None:
    """None for a user without a home directory. On Windows the file is called `_netrc` as well."""
    try:
        if named := os.environ.get("NETRC"):
            return Path(named).expanduser()
        usual = Path("~/.netrc").expanduser()
        return usual.with_name("_netrc") if IS_WINDOWS and not usual.is_file() else usual
    except RuntimeError:
        return None
