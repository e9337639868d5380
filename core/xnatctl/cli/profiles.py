"""`config set-profile | use | list-profiles | remove-profile`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.list_options import list_options
from xnatctl.cli.numbers import Number, WholeNumber
from xnatctl.cli.options import common_options
from xnatctl.cli.suggest import among
from xnatctl.errors import ConfigError, Refused
from xnatctl.model.document import Column, Document
from xnatctl.model.words import plain_number
from xnatctl.operating_system.command_line import quote_word
from xnatctl.settings.config import edit_config, load_config
from xnatctl.settings.profiles import default_profile
from xnatctl.settings.server import server_url

_SCHEMA, _LIST_SCHEMA = "xnatctl.profile/1", "xnatctl.profiles/1"
_LIST_COLUMNS = (
    Column(key="profile"),
    Column(key="default"),
    Column(key="active", detail=True),
    Column(key="url"),
    Column(key="username", drop=1),
    Column(key="default_project", drop=2),
)


@click.command(name="set-profile", help="Create a profile, or change the given settings of an existing one.")
@click.argument("name")
@click.option("--url", metavar="URL", help="The server.")
@click.option("--username", metavar="USER", help="The user to log in as.")
@click.option("--timeout", type=Number(min=0, min_open=True), metavar="SECONDS", help="Time limit of one request.")
@click.option("--ca-cert", metavar="PATH", help="File with the CA certificate of the server.")
@click.option("--verify-tls/--no-verify-tls", default=None, help="Check the server's certificate or not.")
@click.option("--mode", metavar="NAME", help="Transport: tar, zip, gradual, or a plugin's.")
@click.option("--workers", type=WholeNumber(min=1), metavar="N", help="Requests at the same time.")
@click.option("--overwrite", type=click.Choice(["delete", "append", "none"]), help="What to do with existing data.")
@click.option("--default-project", metavar="ID", help="The project of commands without -P.")
@common_options
@pass_app
def set_profile(app: App, name: str, **settings: Any) -> None:
    """Passwords are not accepted; `auth login` stores a session instead.

    Other settings and the comment at the top of the file are kept; comments between settings are lost. A single profile
    is the default implicitly; it is named as the default when a second one is added.
    """
    given = {key: plain_number(value) for key, value in settings.items() if value is not None}
    if "url" in given:
        given["url"] = server_url(given["url"], "flag --url")
    file, new = save_profile(name, given)
    _render(app, name, file, given, log_in=new)


def save_profile(name: str, given: Mapping[str, Any], without: Collection[str] = ()) -> tuple[Path, bool]:
    """Create or change a profile, `without` some settings; returns the file, and whether the profile is new.

    Raises ConfigError.
    """
    new = False

    def change(document: dict[str, Any]) -> None:
        nonlocal new
        profiles = document.get("profiles") or {}
        document["profiles"] = profiles
        new = name not in profiles
        if new and "url" not in given:
            raise ConfigError(f"The new profile {name} needs a server.", hint="Add --url https://...")
        if new and (before := default_profile(document).value) is not None:
            document["default_profile"] = before
        kept = {key: value for key, value in (profiles.get(name) or {}).items() if key not in without}
        profiles[name] = {**kept, **given}

    return edit_config(change), new


@click.command(help="Choose the profile that is used when none is named.")
@click.argument("name")
@common_options
@pass_app
def use(app: App, name: str) -> None:
    """The profile must exist."""
    _change(app, name, lambda document: document.update(default_profile=name))


@click.command(name="remove-profile", help="Delete a profile; does not end a session that auth login stored.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation if it is the default profile.")
@common_options
@pass_app
def remove_profile(app: App, name: str, yes: bool) -> None:
    """After deleting the default, none is: the next upload must not go to another server unasked."""
    default = name == default_profile(load_config()).value
    if default and not yes and not app.confirm(f"{name} is the default profile. Delete it?"):
        raise Refused("No profile was deleted.")
    lines = [f"Profile {name} is deleted."]

    def delete(document: dict[str, Any]) -> None:
        lines.extend(_about_credentials(app, document["profiles"][name] or {}))
        was_default = name == default_profile(document).value
        del document["profiles"][name]
        if was_default:
            document["default_profile"] = None
        if not document["profiles"]:
            document.pop("default_profile", None)

    _change(app, name, delete, lines=lines)


def _about_credentials(app: App, profile: Mapping[str, Any]) -> Iterator[str]:
    """State what becomes of the credentials of a profile that is deleted."""
    if kept := [key for key in ("password", "token", "credentials") if profile.get(key)]:
        yield f"Deleted with it: {', '.join(kept)}."
    if url := profile.get("url"):
        user = ("--username", profile["username"]) if profile.get("username") else ()
        logout = app.commands.command("auth", "logout", "--url", url, *user, server=False)
        yield f"A session that auth login stored for it stays. To end it: {logout}"


@click.command(name="list-profiles", help="List the profiles, and which one is the default.")
@list_options(_LIST_COLUMNS)
@common_options
@pass_app
def list_profiles(app: App) -> None:
    """Show no secrets."""
    document = load_config()
    default = default_profile(document).value
    active = os.environ.get("XNAT_PROFILE") or default
    rows = [
        {
            "profile": name,
            "default": name == default,
            "active": name == active,
            **{key: (profile or {}).get(key) for key in ("url", "username", "default_project")},
        }
        for name, profile in (document.get("profiles") or {}).items()
    ]
    chosen = [] if active == default else [f"The variable XNAT_PROFILE chooses {active}."]
    app.render(
        Document(
            schema=_LIST_SCHEMA,
            data={"schema": _LIST_SCHEMA, "default_profile": default, "profiles": rows},
            listed="profiles",
            columns=_LIST_COLUMNS,
            rows=rows,
            identifiers=tuple(str(row["profile"]) for row in rows),
            summary=(*about_default(app, document), *chosen),
        )
    )


def _change(app: App, name: str, change: Callable[[dict[str, Any]], None], lines: Sequence[str] = ()) -> None:
    """Change the configuration file and show the result. Raises ConfigError for an unknown profile."""

    def checked(document: dict[str, Any]) -> None:
        profiles = document.get("profiles") or {}
        if name not in profiles:
            raise ConfigError(f"There is no profile {name!r}.", hint=among(name, profiles))
        change(document)

    _render(app, name, edit_config(checked), {}, lines=lines)


def _render(
    app: App, name: str, file: Path, given: Mapping[str, Any], *, log_in: bool = False, lines: Sequence[str] = ()
) -> None:
    """Show a profile, the default profile, and the next step."""
    document = load_config(file)
    default = default_profile(document).value
    row = {"profile": name, "file": str(file), **given}
    summary = [*lines, *about_default(app, document, name)]
    if log_in:
        login = app.commands.command("auth", "login", *profile_flags(document, name), server=False)
        summary.append(f"Next: {login}")
    app.render(
        Document(
            schema=_SCHEMA,
            data={"schema": _SCHEMA, **row, "default_profile": default},
            columns=tuple(Column(key=key) for key in row),
            rows=[row],
            identifiers=(name,),
            summary=tuple(summary),
        )
    )


def profile_flags(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The flags with which a command uses the profile, also in a shell without these variables: none if it needs none.

    The server of XNAT_URL would win over that of the profile.
    """
    default = default_profile(document).value
    named = () if name == default == (os.environ.get("XNAT_PROFILE") or default) else ("--profile", name)
    url = (document["profiles"][name] or {}).get("url")
    other = url is not None and os.environ.get("XNAT_URL") not in (None, "", url)
    return (*named, *(("--url", url) if other else ()))


def about_default(app: App, document: Mapping[str, Any], name: str | None = None) -> Iterator[str]:
    """State the default profile and how to use `name` or another one."""
    profiles = document.get("profiles") or {}
    default = default_profile(document).value
    if not profiles:
        yield "There is no profile. Create one: xnatctl config set-profile NAME --url https://..."
    elif default is None:
        yield f"No profile is the default. There {'are' if len(profiles) > 1 else 'is'}: {', '.join(profiles)}."
        word, chosen = ("one", "NAME") if len(profiles) > 1 else ("it", next(iter(profiles)))
        use = app.commands.command("config", "use", chosen, server=False)
        yield f"Choose {word}: {use}, or --profile {quote_word(chosen)}"
    else:
        yield f"The default profile is {default}."
        if name is not None and name in profiles and name != default:
            use = app.commands.command("config", "use", name, server=False)
            yield f"To use this one: --profile {quote_word(name)}, or {use}"
