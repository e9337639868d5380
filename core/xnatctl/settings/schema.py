"""What may stand in the configuration file, and what it must look like; unknown keys are errors with a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from xnatctl.errors import ConfigError

Check = Callable[[Any], str | None]


def text(value: Any) -> str | None:
    """Any text."""
    return None if isinstance(value, str) else "must be text"


def number(value: Any) -> str | None:
    """A number above zero."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return None if good else "must be a number above zero"


def count(value: Any) -> str | None:
    """A whole number of at least one."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return None if good else "must be a whole number of at least 1"


def flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else "must be true or false"


def texts(value: Any) -> str | None:
    """A list of texts."""
    good = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    return None if good else "must be a list of texts"


def choice(*allowed: str) -> Check:
    """One of a few words."""
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def mapping(value: Any) -> str | None:
    """A mapping."""
    return None if isinstance(value, dict) else "must be a mapping"


#: Keys of a profile. `options` holds values for the options of transports, by option name.
PROFILE: Mapping[str, Check] = {
    "url": text,
    "timeout": number,
    "username": text,
    "password": text,
    "token": text,
    "credential_helper": texts,
    "verify_tls": flag,
    "ca_cert": text,
    "client_cert": text,
    "client_key": text,
    "mode": text,
    "workers": count,
    "overwrite": choice("delete", "append", "none"),
    "output": text,
    "options": mapping,
}

#: Keys of the file.
TOP: Mapping[str, Check] = {
    "default_profile": text,
    "profiles": mapping,
    "credential_sources": texts,
    "plugins": mapping,
    "output": text,
}

PLUGINS: Mapping[str, Check] = {"block": texts, "allow": texts}


def check_document(document: Any, where: str) -> dict[str, Any]:
    """The document itself when it is a configuration. Raises ConfigError naming file, key and what is wrong."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: must be a mapping of settings.")
    _check(document, TOP, where, "")
    _check(document.get("plugins") or {}, PLUGINS, where, "plugins.")
    for name, profile in (document.get("profiles") or {}).items():
        if not isinstance(profile, dict):
            raise ConfigError(f"{where}: profiles.{name} must be a mapping of settings.")
        _check(profile, PROFILE, where, f"profiles.{name}.")
    default = document.get("default_profile")
    if default is not None and default not in (document.get("profiles") or {}):
        raise ConfigError(
            f"{where}: default_profile names {default!r}, which is not among the profiles.",
            hint="Choose one with: xnatctl config use NAME",
        )
    return document


def _check(settings: Mapping[Any, Any], known: Mapping[str, Check], where: str, prefix: str) -> None:
    for key, value in settings.items():
        check = known.get(key) if isinstance(key, str) else None
        if check is None:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {prefix}{close[0]}?" if close else f"Known here: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown setting {prefix}{key}.", hint=hint)
        if value is not None and (problem := check(value)) is not None:
            raise ConfigError(f"{where}: {prefix}{key} {problem}, not {_shown(key, value)}.")


def _shown(key: str, value: Any) -> str:
    return "what it is" if key in SECRET_KEYS else repr(value)


#: Keys whose values are never shown.
SECRET_KEYS = frozenset({"password", "token"})
