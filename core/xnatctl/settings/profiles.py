"""The settings of a run from flags, variables, profile and defaults, each with its origin."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from xnatctl.errors import ConfigError
from xnatctl.operating_system.command_line import join_command, quote_word
from xnatctl.operating_system.private import how_to_restrict, readable_by_others
from xnatctl.plugin.specs import Option
from xnatctl.settings import paths
from xnatctl.settings.budget import ServerBudget
from xnatctl.settings.config import load_config
from xnatctl.settings.options import resolve_option
from xnatctl.settings.server import is_plain_text, server_url
from xnatctl.settings.value import Value, first

#: Six hours: one whole request (spec: XNAT_TIMEOUT, `timeout`).
DEFAULT_TIMEOUT = 21600.0

#: The credential source that `auth login` stores the session token in.
DEFAULT_STORE = "token"

#: The transport of `session upload` where nothing names one.
DEFAULT_MODE = "tar"

#: Variables with user and secrets.
_LOGIN_VARIABLES = ("XNAT_USER", "XNAT_PASS", "XNAT_TOKEN")

#: Settings of a profile that apply only to its own server.
BOUND_TO_SERVER = frozenset(
    {
        "url", "username", "password", "token", "credential_helper", "credentials", "verify_tls", "ca_cert",
        "client_cert", "client_key", "default_project", "server_budget",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Values from the command line; None means not given.

    `recorded`: what `url` comes from, such as the journal of an upload; empty if it is of the command line.
    """

    url: str | None = None
    recorded: str = ""
    profile: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float | None = None
    insecure: bool = False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run. `url` is None if no server is configured; `server` then raises ConfigError.

    `profile` holds what of the chosen profile counts for the chosen server; `environment_counts` is False when the user
    and the secrets of the variables are for another server; `profile_counts` is False when the chosen profile is for
    another server; `notes` are warnings about the choice.
    """

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
    default_project: Value[str | None]
    output: Value[str]
    credential_sources: Value[list[str] | None]
    store: Value[str]
    server_budget: ServerBudget
    flags: Flags = field(repr=False)
    environment_counts: bool = True
    profile_counts: bool = True
    notes: tuple[str, ...] = ()
    profile_names: tuple[str, ...] = ()

    def server(self) -> str:
        """The server's URL. Raises ConfigError that says how to name one."""
        if self.url.value is None:
            raise self._no_server()
        return self.url.value

    def _no_server(self) -> ConfigError:
        name, names = self.profile_name.value, self.profile_names
        if name is not None:
            change = join_command(["xnatctl", "config", "set-profile", name, "--url", "https://..."])
            return ConfigError(f"Profile {name} has no XNAT server.", hint=f"Use --url, or add it: {change}")
        if names:
            first_one = quote_word(names[0])
            return ConfigError(
                f"No XNAT server is configured, and none of the profiles {', '.join(names)} is the default.",
                hint=f"Use --profile {first_one} or XNAT_PROFILE={first_one}, or make it the default: "
                f"xnatctl config use {first_one}",
            )
        return ConfigError(
            "No XNAT server is configured.",
            hint="Use --url, set XNAT_URL, or create a profile: xnatctl config set-profile NAME --url https://...",
        )

    def server_or_empty(self) -> str:
        """The server's URL, or empty."""
        return self.url.value or ""

    def plugin_option(self, option: Option) -> Any:
        """A plugin's option whose flag was not given: variable, profile, default. Raises ConfigError."""
        return resolve_option(option, self.profile).value

    def warnings(self, options: Mapping[str, bool] = MappingProxyType({})) -> list[str]:
        """Warnings about unsafe settings. `options` says of the declared options of plugins whether they are secret."""
        lines = list(self.notes)
        server = self.url.value
        if server is not None and is_plain_text(server):
            lines.append(
                f"{server} ({self.url.origin}) is not encrypted: others on the network can read password and "
                "patient data. Use https."
            )
        if server is not None and not self.verify_tls.value and server.startswith("https:"):
            lines.append(
                f"The certificate of {server} is not checked ({self.verify_tls.origin}): others on the network can "
                "read password and patient data."
            )
        file = paths.config_file()
        secret = self.profile.get("password") or self.profile.get("token")
        kept = [*(self.profile.get("options") or {})]
        for source, section in (self.profile.get("credentials") or {}).items():
            kept += [f"{source}.{name}" for name in section or {}]
        if (secret or any(options.get(name) for name in kept)) and file.exists() and readable_by_others(file):
            lines.append(f"{file} contains a secret and is readable by others. Run: {how_to_restrict(file)}")
        return lines

    def secrets(self) -> Iterator[tuple[str | None, str]]:
        """(user, secret) of everything secret that settings or variables hold, whether it will be used or not."""
        user = self.username.value
        for secret in (self.flags.password, os.environ.get("XNAT_PASS"), self.profile.get("password")):
            if secret:
                yield user, str(secret)
        for token in (os.environ.get("XNAT_TOKEN"), self.profile.get("token")):
            if token:
                alias, _, secret = str(token).partition(":")
                yield alias, secret or str(token)
                yield None, alias
        for user, secret in map(_userinfo, (self.flags.url, os.environ.get("XNAT_URL"), self.profile.get("url"))):
            if secret:
                yield user, secret
                yield unquote(user), unquote(secret)


def _userinfo(url: object) -> tuple[str, str]:
    """User and password that stand in a URL all the same, where they are refused."""
    before, at, _ = unquote(str(url or "")).rpartition("@")
    user, _, secret = before.rpartition("://")[2].partition(":")
    return (user, secret) if at else ("", "")


def resolve(flags: Flags) -> Settings:
    """Flag, else variable, else profile, else default. Raises ConfigError for anything unusable."""
    for flag, value in (("--username", flags.username), ("--password", flags.password)):
        if value == "":
            # Probably an unset variable in a script; continuing could log in as another user.
            raise ConfigError(f"{flag} is empty.")
    config = load_config()
    name = _profile_name(flags, config)
    profile: Mapping[str, Any] = (config.get("profiles") or {}).get(name.value) or {}
    where = f"profile {name.value}"
    url = _url(flags, profile, where)
    notes: list[str] = []
    if _variable(paths.CONFIG_VARIABLE) and not paths.config_file().exists():
        notes.append(f"{paths.CONFIG_VARIABLE} names {paths.config_file()}, which does not exist.")
    counts = _environment_counts(url, flags, profile)
    if not counts and (given := [key for key in _LOGIN_VARIABLES if _variable(key)]):
        notes.append(
            f"The server is {url.value} ({url.origin}). {' and '.join(given)} {'are' if len(given) > 1 else 'is'} for "
            f"another one ({'XNAT_URL' if _variable('XNAT_URL') else where}) and not used."
        )
    whole = profile
    if url.value is not None and url.origin != where:
        profile = _for_another_server(url, flags, profile, name, notes)

    def from_profile(key: str, default: Any = None) -> Value[Any]:
        value = profile.get(key)
        if value is not None and key in ("ca_cert", "client_cert", "client_key"):
            value = str(Path(value).expanduser())
        return first((value, where), default=default)

    return Settings(
        url=url,
        profile_name=name,
        profile=profile,
        timeout=_timeout(flags, profile, where),
        username=first(
            (flags.username, "flag --username"),
            (_variable("XNAT_USER") if counts else None, "variable XNAT_USER"),
            (profile.get("username"), where),
        ),
        verify_tls=Value(False, "flag --insecure") if flags.insecure else from_profile("verify_tls", True),
        ca_cert=from_profile("ca_cert"),
        client_cert=from_profile("client_cert"),
        client_key=from_profile("client_key"),
        mode=from_profile("mode", DEFAULT_MODE),
        workers=from_profile("workers"),
        overwrite=from_profile("overwrite", "delete"),
        default_project=from_profile("default_project"),
        output=first((profile.get("output"), where), (config.get("output"), "configuration file"), default="table"),
        credential_sources=first((config.get("credential_sources"), "configuration file")),
        store=first((config.get("store"), "configuration file"), default=DEFAULT_STORE),
        server_budget=ServerBudget.of(profile),
        flags=flags,
        environment_counts=counts,
        profile_counts=profile is whole,
        notes=tuple(notes),
        profile_names=tuple(config.get("profiles") or ()),
    )  # fmt: skip


def _variable(name: str) -> str | None:
    """A variable that is set to nothing counts as not set."""
    return os.environ.get(name) or None


def _url(flags: Flags, profile: Mapping[str, Any], where: str) -> Value[str | None]:
    source = flags.recorded or "flag --url"
    given = first((flags.url, source), (_variable("XNAT_URL"), "variable XNAT_URL"), (profile.get("url"), where))
    return given if given.value is None else Value(server_url(given.value, given.origin), given.origin)


def _environment_counts(url: Value[str | None], flags: Flags, profile: Mapping[str, Any]) -> bool:
    """Whether XNAT_USER, XNAT_PASS and XNAT_TOKEN are for the server of this run.

    They are for XNAT_URL. Without it they are for the server that is typed or that the profile names, and a journal's
    server is none of these. Where nothing names a server but the journal, they are for that one.
    """
    owner = _variable("XNAT_URL") or (profile.get("url") if flags.recorded else None)
    return owner is None or url.value is None or _is_server(owner, url.value)


def _is_server(text: str, server: str) -> bool:
    try:
        return server_url(text, "") == server
    except ConfigError:
        return False


def _for_another_server(
    url: Value[str | None], flags: Flags, profile: Mapping[str, Any], name: Value[str | None], notes: list[str]
) -> Mapping[str, Any]:
    """The profile without what belongs to its own server, when flag, variable or journal name another one.

    A profile that names no server counts for the one that flag or variable name, and not for a journal's that differs.
    """
    own = profile.get("url") or (_variable("XNAT_URL") if flags.recorded else None)
    if own is None or (url.value is not None and _is_server(own, url.value)):
        return profile
    kept = {key: value for key, value in profile.items() if key not in BOUND_TO_SERVER}
    if name.origin == "flag --profile":
        notes.append(
            f"The server is {url.value} ({url.origin}), not the one of profile {name.value}; "
            "user, secrets and certificates of the profile are not used."
        )
    return kept


def default_profile(config: Mapping[str, Any]) -> Value[str | None]:
    """The profile that is used when none is named: the one that the configuration names, or its only one.

    `default_profile: null` means none, which `config remove-profile` leaves.
    """
    profiles = config.get("profiles") or {}
    only = next(iter(profiles)) if len(profiles) == 1 and "default_profile" not in config else None
    return first((config.get("default_profile"), "default_profile"), (only, "the only profile"))


def _profile_name(flags: Flags, config: Mapping[str, Any]) -> Value[str | None]:
    profiles = config.get("profiles") or {}
    default = default_profile(config)
    name: Value[str | None] = first(
        (flags.profile, "flag --profile"),
        (_variable("XNAT_PROFILE"), "variable XNAT_PROFILE"),
        (default.value, default.origin),
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
    given: Value[Any] = first(
        (flags.timeout, "flag --timeout"),
        (os.environ.get("XNAT_TIMEOUT", "").strip() or None, "variable XNAT_TIMEOUT"),
        (profile.get("timeout"), where),
        default=DEFAULT_TIMEOUT,
    )
    try:
        seconds = float(given.value)
    except ValueError:
        seconds = 0.0
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(
            f"The timeout ({given.origin}) must be a number of seconds above zero, not {given.value!r}.",
            hint="For example 43200, which is twelve hours.",
        )
    return Value(seconds, given.origin)
