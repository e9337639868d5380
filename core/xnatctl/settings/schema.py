"""The schema of the configuration file; unknown keys are errors with a suggestion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from xnatctl.errors import ConfigError
from xnatctl.settings.document import shown

#: Returns the problem of a value, or None.
Check = Callable[[Any], str | None]
#: Key path -> position in the file, such as "line 3, column 5".
Places = Mapping[tuple[str, ...], str]


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


#: Keys of a profile. `options` holds values for the options of transports, by option name; `credentials` those of
#: credential sources, by source and option name.
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
    "default_project": text,
    "output": text,
    "options": mapping,
    "credentials": mapping,
    "server_budget": mapping,
}

#: Keys of `server_budget` of a profile.
BUDGET: Mapping[str, Check] = {"sessions": count, "requests": count, "archiving": count}

#: Keys of the file.
TOP: Mapping[str, Check] = {
    "default_profile": text,
    "profiles": mapping,
    "credential_sources": texts,
    "store": text,
    "plugins": mapping,
    "output": text,
}

PLUGINS: Mapping[str, Check] = {"block": texts, "allow": texts}

#: The type of an unexpected value, which is not printed because it may be a secret.
_TYPES = ((bool, "true or false"), (str, "text"), (list, "a list"), (dict, "a mapping"), ((int, float), "a number"))


def check_document(document: Any, places: Places, where: str) -> dict[str, Any]:
    """Validate a document. Raises ConfigError with file, position, key and expected value."""
    return _Checker(where, places).check(document)


class _Checker:
    """One document being checked; `places` says where its keys stand."""

    def __init__(self, where: str, places: Places) -> None:
        self._where = where
        self._places = places

    def check(self, document: Any) -> dict[str, Any]:
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ConfigError(
                f"{self._where}: expected a mapping of settings, not {_type(document)}.",
                hint=f"Settings are written as NAME: VALUE. Known here: {', '.join(TOP)}.",
            )
        self._keys(document, TOP, ())
        self._keys(document.get("plugins") or {}, PLUGINS, ("plugins",))
        profiles = document.get("profiles") or {}
        for name, profile in profiles.items():
            self._profile(name, profile)
        default = document.get("default_profile")
        if default is not None and default not in profiles:
            raise ConfigError(
                f"{self._at('default_profile')}: default_profile does not name a profile of this file.",
                hint=f"There are: {', '.join(profiles) or 'none'}. Correct the line, or delete it.",
            )
        return document

    def _profile(self, name: Any, profile: Any) -> None:
        if (problem := text(name)) is not None:
            raise ConfigError(f"{self._at('profiles', str(name))}: the name of a profile {problem}.")
        if profile is None:
            return
        if not isinstance(profile, dict):
            raise ConfigError(
                f"{self._at('profiles', name)}: {shown('profiles', name)} must be a mapping of settings, "
                f"not {_type(profile)}."
            )
        self._keys(profile, PROFILE, ("profiles", name))
        self._keys(profile.get("server_budget") or {}, BUDGET, ("profiles", name, "server_budget"))
        self._names(profile.get("options") or {}, ("profiles", name, "options"))
        sections = profile.get("credentials") or {}
        self._names(sections, ("profiles", name, "credentials"))
        for source, section in sections.items():
            here = ("profiles", name, "credentials", source)
            if section is not None and (problem := mapping(section)) is not None:
                raise ConfigError(f"{self._at(*here)}: {shown(*here)} {problem}.")
            self._names(section or {}, here)

    def _names(self, settings: Mapping[Any, Any], path: tuple[str, ...]) -> None:
        for key in settings:
            if not isinstance(key, str):
                raise ConfigError(f"{self._at(*path, str(key))}: {shown(*path, key)} must be text.")

    def _keys(self, settings: Mapping[Any, Any], known: Mapping[str, Check], path: tuple[str, ...]) -> None:
        for key, value in settings.items():
            here = (*path, str(key))
            check = known.get(key) if isinstance(key, str) else None
            if check is None:
                raise ConfigError(
                    f"{self._at(*here)}: unknown setting {shown(*here)}.", hint=_suggest(key, known, path)
                )
            if value is not None and (problem := check(value)) is not None:
                raise ConfigError(f"{self._at(*here)}: {shown(*here)} {problem}.")

    def _at(self, *path: str) -> str:
        place = self._places.get(path)
        return self._where if place is None else f"{self._where}, {place}"


def _type(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "anything else")


def _suggest(key: Any, known: Mapping[str, Check], path: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Did you mean {'.'.join((*path, close[0]))}?"
    if not path and key in PROFILE:
        return f"{key} belongs to a profile: profiles: NAME: {key}"
    return f"Known here: {', '.join(known)}."
