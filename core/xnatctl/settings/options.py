"""Options of plugins from variable, profile and default."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from xnatctl.errors import ConfigError
from xnatctl.model.secret import Secret
from xnatctl.plugin.specs import CredentialSourceSpec, Option
from xnatctl.settings.value import Value

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def resolve_option(option: Option, profile: Mapping[str, Any]) -> Value[Any]:
    """Variable, else profile (`options.<name>`), else default; as the option's type. Raises ConfigError."""
    return _resolve(option, (profile.get("options") or {}).get(option.name), f"profile option {option.name}")


def source_options(
    spec: CredentialSourceSpec, profile: Mapping[str, Any], where: str, *, environment: bool = True
) -> dict[str, Any] | None:
    """The values of the options of a credential source: variable, else profile (`credentials.<source>`), else default.

    None when no option is set and a required one has no value: the source is not configured. `where` names the profile.
    Without `environment` the variables do not count: they were set for another server.
    Raises ConfigError for a key that is no option, a wrong value, and a required option that is missing.
    """
    section = section_of(spec, profile, where)
    options = spec.options if environment else [replace(option, envvar=None) for option in spec.options]
    found = {
        option.name: _resolve(option, section.get(option.name), f"credentials.{spec.name}.{option.name} in {where}")
        for option in options
    }
    missing = [option for option in spec.options if option.required and found[option.name].value is None]
    if missing and all(value.origin == "default" for value in found.values()):
        return None
    for option in missing:
        variable = f", or {option.envvar}" if option.envvar else ""
        raise ConfigError(
            f"The credential source {spec.name} needs a value for {option.name}.",
            hint=f"Set credentials.{spec.name}.{option.name} in {where}{variable}: {option.help}",
        )
    return {name: value.value for name, value in found.items()}


def section_of(spec: CredentialSourceSpec, profile: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The section of a credential source in a profile. Raises ConfigError for a key that is no option of the source."""
    section: Mapping[str, Any] = (profile.get("credentials") or {}).get(spec.name) or {}
    known = [option.name for option in spec.options]
    for key in section:
        if key not in known:
            import difflib

            close = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"The credential source {spec.name} has no option {key} (credentials.{spec.name}.{key} in {where}).",
                hint=f"Did you mean {close[0]}?" if close else f"Its options: {', '.join(known) or 'none'}.",
            )
    return section


def unknown_sections(profile: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """One line per section of the profile's `credentials` that belongs to no active credential source."""
    return [
        f"The profile's section credentials.{name} does not belong to an active credential source and has no effect."
        for name in profile.get("credentials") or {}
        if name not in known
    ]


def _resolve(option: Option, kept: Any, kept_in: str) -> Value[Any]:
    raw, origin = option.default, "default"
    if option.envvar and os.environ.get(option.envvar):
        raw, origin = os.environ[option.envvar], f"variable {option.envvar}"
    elif kept is not None:
        raw, origin = kept, kept_in
    if raw is None or origin == "default":
        return Value(raw, origin)
    value = _converted(option, raw, origin)
    return Value(Secret(value) if option.secret else value, origin)


def secret_values(option: Option, profile: Mapping[str, Any]) -> list[str]:
    """What variable and profile hold for a secret option, used or not; for the redactor."""
    sections = [profile.get("options"), *(profile.get("credentials") or {}).values()]
    found = [os.environ.get(option.envvar) if option.envvar else None]
    found += [(section or {}).get(option.name) for section in sections]
    return [str(value) for value in found if value and isinstance(value, str | int)]


def unknown_options(profile: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """One line per entry of the profile's `options` that no active plugin declares."""
    lines = []
    for name in profile.get("options") or {}:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            lines.append(
                f"The profile's option {name} does not belong to an active plugin and has no effect"
                + (f"; did you mean {close[0]}?" if close else ".")
            )
    return lines


def _converted(option: Option, raw: Any, origin: str) -> Any:
    kind = option.type
    if isinstance(kind, tuple):
        if str(raw) not in kind:
            raise ConfigError(f"{option.name} ({origin}) must be one of {', '.join(kind)}.")
        return str(raw)
    value = _boolean(raw) if kind is bool else None if isinstance(raw, bool) else _plain(kind, raw)
    if value is None:
        raise ConfigError(f"{option.name} ({origin}) must be {_described(kind)}.")
    return value


def _boolean(raw: Any) -> bool | None:
    word = str(raw).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _plain(kind: type, raw: Any) -> Any:
    """None for what does not fit: `int(3.5)` would quietly be 3."""
    if isinstance(raw, dict | list) or (kind is int and isinstance(raw, float)):
        return None
    try:
        value = kind(raw)
    except (TypeError, ValueError):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _described(kind: type) -> str:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind, f"a {kind.__name__}")
