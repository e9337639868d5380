"""Options of plugins from variable, profile and default."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

from xnatctl.errors import ConfigError
from xnatctl.model.secret import Secret
from xnatctl.plugin.specs import Option
from xnatctl.settings.value import Value

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def resolve_option(option: Option, profile: Mapping[str, Any]) -> Value[Any]:
    """Variable, else profile (`options.<name>`), else default; as the option's type. Raises ConfigError."""
    kept = (profile.get("options") or {}).get(option.name)
    raw, origin = option.default, "default"
    if option.envvar and os.environ.get(option.envvar):
        raw, origin = os.environ[option.envvar], f"variable {option.envvar}"
    elif kept is not None:
        raw, origin = kept, f"profile option {option.name}"
    if raw is None or origin == "default":
        return Value(raw, origin)
    value = _converted(option, raw, origin)
    return Value(Secret(value) if option.secret else value, origin)


def secret_values(option: Option, profile: Mapping[str, Any]) -> list[str]:
    """What variable and profile hold for a secret option, used or not; for the redactor."""
    kept = (profile.get("options") or {}).get(option.name)
    found = [os.environ.get(option.envvar) if option.envvar else None, kept if isinstance(kept, str | int) else None]
    return [str(value) for value in found if value]


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
