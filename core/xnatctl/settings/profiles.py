"""The configuration file, and what follows from it, flags and variables: each setting with its origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from xnatctl.errors import ConfigError
from xnatctl.plugin.specs import Option
from xnatctl.settings import paths, schema

T = TypeVar("T")

#: Six hours: one whole request (spec: XNAT_TIMEOUT, `timeout`).
DEFAULT_TIMEOUT = 21600.0


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """A setting and where it comes from: a flag, a variable, a profile, or the default."""

    value: T
    origin: str


def load_config(path: Path | None = None) -> dict[str, Any]:
    """The checked content of the configuration file; empty when there is none. Raises ConfigError."""
    file = path or paths.config_file()
    try:
        content = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from error
    import yaml

    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{file}{place}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}.") from error
    return schema.check_document(document, str(file))


def plugin_lists() -> tuple[list[str], list[str] | None]:
    """`plugins.block` and `plugins.allow`. YAML is read only when the file speaks of plugins at all."""
    file = paths.config_file()
    try:
        if "plugins" not in file.read_text(encoding="utf-8", errors="replace"):
            return [], None
    except OSError:
        return [], None
    plugins = load_config(file).get("plugins") or {}
    return list(plugins.get("block") or []), plugins.get("allow")


def edit_config(change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the configuration file, whole or not at all; nothing else in it is lost. Raises ConfigError."""
    import yaml

    document = load_config()
    change(document)
    schema.check_document(document, "the new configuration")
    file = paths.config_file()
    paths.write_private(file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return file


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What was said on the command line; None = not said."""

    url: str | None = None
    profile: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float | None = None
    insecure: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of this run. `url` is None when no server was named; asking for it then raises ConfigError."""

    url: Value[str | None]
    profile_name: Value[str | None]
    profile: Mapping[str, Any] = field(repr=False)
    timeout: Value[float]
    username: Value[str | None]
    verify_tls: Value[bool]
    ca_cert: Value[str | None]
    client_cert: Value[str | None]
    client_key: Value[str | None]
    mode: Value[str]
    workers: Value[int | None]
    overwrite: Value[str]
    output: Value[str]
    credential_sources: Value[list[str] | None]
    flags: Flags = field(repr=False)

    def server(self) -> str:
        """The server's URL. Raises ConfigError that says how to name one."""
        if self.url.value is None:
            raise ConfigError(
                "No XNAT server was named.",
                hint="Use --url, set XNAT_URL, or keep one: xnatctl config set-profile NAME --url https://...",
            )
        return self.url.value

    def server_or_empty(self) -> str:
        """The server's URL, or nothing: for what needs no server."""
        return self.url.value or ""

    def plugin_option(self, option: Option) -> Any:
        """The value of a plugin's option when its flag was not given: variable, profile, default.

        Raises ConfigError.
        """
        return resolve_option(option, self.profile).value

    def rows(self) -> list[tuple[str, Any, str]]:
        """(key, value, origin) of every setting, for `config show`."""
        names = [name for name in self.__dataclass_fields__ if name not in ("flags", "profile")]
        return [(name, getattr(self, name).value, getattr(self, name).origin) for name in names]


def resolve_option(option: Option, profile: Mapping[str, Any]) -> Value[Any]:
    """Variable, else profile (`options.<name>`), else default; converted to the option's type."""
    raw, origin = option.default, "default"
    if option.envvar and os.environ.get(option.envvar, "") != "":
        raw, origin = os.environ[option.envvar], f"variable {option.envvar}"
    elif option.name in (profile.get("options") or {}):
        raw, origin = profile["options"][option.name], f"profile option {option.name}"
    if raw is None:
        return Value(None, origin)
    if isinstance(option.type, tuple):
        if str(raw) not in option.type:
            raise ConfigError(f"{option.name} ({origin}) must be one of {', '.join(option.type)}, not {raw!r}.")
        return Value(str(raw), origin)
    if option.type is bool and isinstance(raw, str):
        return Value(raw.strip().lower() not in ("", "0", "false", "no", "off"), origin)
    try:
        return Value(option.type(raw), origin)
    except (TypeError, ValueError):
        raise ConfigError(f"{option.name} ({origin}) must be a {option.type.__name__}, not {raw!r}.") from None


def resolve(flags: Flags) -> Settings:
    """Flag, else variable, else profile, else default. Raises ConfigError for anything unusable."""
    config = load_config()
    profile_name = _profile_name(flags, config)
    profile: Mapping[str, Any] = (config.get("profiles") or {}).get(profile_name.value) or {}
    where = f"profile {profile_name.value}"
    url_variable = os.environ.get("XNAT_URL") or None
    url = _first((flags.url, "flag --url"), (url_variable, "variable XNAT_URL"), (profile.get("url"), where))
    # A profile's user, secrets and certificates belong to its own server and go to no other.
    if url.value is not None and not _same_server(url.value, profile.get("url")):
        profile = {key: value for key, value in profile.items() if key not in _BOUND_TO_SERVER}

    def from_profile(key: str, default: Any) -> Value[Any]:
        return _first((profile.get(key), where), default=default)

    return Settings(
        url=url,
        profile_name=profile_name,
        profile=profile,
        timeout=_timeout(flags, profile, where),
        username=_first(
            (flags.username, "flag --username"),
            (os.environ.get("XNAT_USER") or None, "variable XNAT_USER"),
            (profile.get("username"), where),
        ),
        verify_tls=Value(False, "flag --insecure") if flags.insecure else from_profile("verify_tls", True),
        ca_cert=from_profile("ca_cert", None),
        client_cert=from_profile("client_cert", None),
        client_key=from_profile("client_key", None),
        mode=from_profile("mode", "tar"),
        workers=from_profile("workers", None),
        overwrite=from_profile("overwrite", "delete"),
        output=_first((profile.get("output"), where), (config.get("output"), "configuration file"), default="table"),
        credential_sources=_first((config.get("credential_sources"), "configuration file")),
        flags=flags,
    )


_BOUND_TO_SERVER = frozenset({"username", "password", "token", "credential_helper", "client_cert", "client_key", "url"})


def _same_server(one: str, other: str | None) -> bool:
    return other is not None and one.rstrip("/").lower() == other.rstrip("/").lower()


def _first(*candidates: tuple[Any, str], default: Any = None) -> Value[Any]:
    return next((Value(value, origin) for value, origin in candidates if value is not None), Value(default, "default"))


def _profile_name(flags: Flags, config: Mapping[str, Any]) -> Value[str | None]:
    profiles = config.get("profiles") or {}
    only = next(iter(profiles)) if len(profiles) == 1 else None
    name: Value[str | None] = _first(
        (flags.profile, "flag --profile"),
        (os.environ.get("XNAT_PROFILE") or None, "variable XNAT_PROFILE"),
        (config.get("default_profile"), "default_profile"),
        (only, "the only profile"),
    )
    if name.value is not None and name.value not in profiles:
        raise ConfigError(
            f"There is no profile {name.value!r} ({name.origin}).",
            hint=f"There are: {', '.join(profiles)}."
            if profiles
            else "Make one: xnatctl config set-profile NAME --url URL",
        )
    return name


def _timeout(flags: Flags, profile: Mapping[str, Any], where: str) -> Value[float]:
    if flags.timeout is not None:
        return Value(flags.timeout, "flag --timeout")
    variable = os.environ.get("XNAT_TIMEOUT", "").strip()
    if variable:
        try:
            seconds = float(variable)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ConfigError(
                f"XNAT_TIMEOUT must be a number of seconds above zero, not {variable!r}.", hint="For example 43200."
            )
        return Value(seconds, "variable XNAT_TIMEOUT")
    if profile.get("timeout") is not None:
        return Value(float(profile["timeout"]), where)
    return Value(DEFAULT_TIMEOUT, "default")
