"""What may stand in the configuration file, and what it must look like; unknown keys are errors with a suggestion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from xnatctl.errors import ConfigError

#: Says what is wrong with a value, or None.
Check = Callable[[Any], str | None]
#: Key path -> line in the file, counted from 1.
Lines = Mapping[tuple[str, ...], int]


def text(value: Any) -> str | None:
    """Any text that is not empty. YAML makes numbers and booleans of some, unless they are quoted."""
    if isinstance(value, str):
        return None if value.strip() else "must not be empty"
    return "must be text; put it in quotes"


def number(value: Any) -> str | None:
    """A finite number above zero."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and math.isfinite(value)
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
    good = isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)
    return None if good else "must be a list of texts, such as [one, two]"


def command(value: Any) -> str | None:
    """A command line, already cut into words: no shell will do it."""
    good = texts(value) is None and value
    return None if good else "must be a list: the command and its arguments, such as [/opt/bin/secret, xnat]"


def choice(*allowed: str) -> Check:
    """One of a few words."""
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def mapping(value: Any) -> str | None:
    """A mapping."""
    return None if isinstance(value, dict) else "must be a mapping of names to values"


#: Keys of a profile. `options` holds values for the options of transports, by option name.
PROFILE: Mapping[str, Check] = {
    "url": text,
    "timeout": number,
    "username": text,
    "password": text,
    "token": text,
    "credential_helper": command,
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

#: Keys whose values are never shown.
SECRET_KEYS = frozenset({"password", "token", "credential_helper"})


def check_document(document: Any, where: str, lines: Lines | None = None) -> dict[str, Any]:
    """The document itself when it is a configuration. Raises ConfigError naming file, line, key and what is wrong."""
    return _Checker(where, lines or {}).check(document)


class _Checker:
    """One document being checked; `lines` says where its keys stand."""

    def __init__(self, where: str, lines: Lines) -> None:
        self._where = where
        self._lines = lines

    def check(self, document: Any) -> dict[str, Any]:
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ConfigError(f"{self._where}: must be a mapping of settings.", hint="See: xnatctl config init")
        self._keys(document, TOP, ())
        self._keys(document.get("plugins") or {}, PLUGINS, ("plugins",))
        profiles = document.get("profiles") or {}
        for name, profile in profiles.items():
            self._profile(name, profile)
        default = document.get("default_profile")
        if default is not None and default not in profiles:
            raise ConfigError(
                f"{self._at('default_profile')}: default_profile names {default!r}, which is not among the profiles.",
                hint="Choose one with: xnatctl config use NAME",
            )
        return document

    def _profile(self, name: Any, profile: Any) -> None:
        if (problem := text(name)) is not None:
            raise ConfigError(f"{self._at('profiles', str(name))}: the name of profile {name!r} {problem}.")
        if profile is None:
            return
        if not isinstance(profile, dict):
            raise ConfigError(f"{self._at('profiles', name)}: profiles.{name} must be a mapping of settings.")
        self._keys(profile, PROFILE, ("profiles", name))
        for key in profile.get("options") or {}:
            if not isinstance(key, str):
                raise ConfigError(
                    f"{self._at('profiles', name, 'options', str(key))}: profiles.{name}.options.{key} must be text."
                )

    def _keys(self, settings: Mapping[Any, Any], known: Mapping[str, Check], path: tuple[str, ...]) -> None:
        for key, value in settings.items():
            here = (*path, str(key))
            check = known.get(key) if isinstance(key, str) else None
            if check is None:
                raise ConfigError(
                    f"{self._at(*here)}: unknown setting {'.'.join(here)}.", hint=_suggest(key, known, path)
                )
            if value is not None and (problem := check(value)) is not None:
                shown = "" if key in SECRET_KEYS else f", not {value!r}"
                raise ConfigError(f"{self._at(*here)}: {'.'.join(here)} {problem}{shown}.")

    def _at(self, *path: str) -> str:
        line = self._lines.get(path)
        return self._where if line is None else f"{self._where}, line {line}"


def _suggest(key: Any, known: Mapping[str, Check], path: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Did you mean {'.'.join((*path, close[0]))}?"
    if not path and key in PROFILE:
        return f"{key} belongs to a profile: profiles: NAME: {key}"
    return f"Known here: {', '.join(known)}."
