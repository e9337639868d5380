"""`config init | path | show | set-profile | use`."""

from __future__ import annotations

from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.options import common_options, server_options
from xnatctl.errors import ConfigError, Refused
from xnatctl.model.document import Column, Document
from xnatctl.settings import paths
from xnatctl.settings.profiles import edit_config, load_config

_STARTER = """\
# Configuration of xnatctl. `xnatctl config show` prints every setting with its origin.

# Which profile to use when neither --profile nor XNAT_PROFILE names one:
# default_profile: production

# profiles:
#   production:
#     url: https://xnat.example.org
#     username: me            # the password is better kept by `xnatctl auth login`
#     timeout: 43200          # seconds for one whole request; 21600 when absent
#     mode: tar               # tar, zip, gradual, or a plugin's transport
#     workers: 4

# Plugins to leave out:
# plugins:
#   block: [name]
"""


def _path_document(path: str, schema: str, **more: Any) -> Document:
    row = {"path": path, **more}
    return Document(
        schema=schema,
        data={"schema": schema, **row},
        columns=tuple(Column(key=key, title=key) for key in row),
        rows=[row],
        identifiers=(path,),
    )


@click.command(help="Write a commented configuration file to start from; never overwrites one.")
@common_options
@pass_app
def init(app: App) -> None:
    """Refuses when there is a file."""
    file = paths.config_file()
    if file.exists():
        raise Refused(f"{file} exists already.", hint="Change it with an editor, or with: xnatctl config set-profile")
    paths.write_private(file, _STARTER)
    app.render(_path_document(str(file), "xnatctl.config-file/1"))


@click.command(help="Print where the configuration file is.")
@common_options
@pass_app
def path(app: App) -> None:
    """Also when it does not exist yet."""
    file = paths.config_file()
    app.render(_path_document(str(file), "xnatctl.config-file/1", exists=file.exists()))


@click.command(help="Show every setting with its value and where it comes from; secrets are masked.")
@server_options
@common_options
@pass_app
def show(app: App) -> None:
    """No server is asked."""
    rows = [{"setting": key, "value": value, "origin": origin} for key, value, origin in app.settings.rows()]
    rows += [
        {"setting": f"{key}", "value": "(set, not shown)", "origin": f"profile {app.settings.profile_name.value}"}
        for key in ("password", "token")
        if app.settings.profile.get(key)
    ]
    rows += [
        {"setting": f"options.{key}", "value": value, "origin": f"profile {app.settings.profile_name.value}"}
        for key, value in (app.settings.profile.get("options") or {}).items()
    ]
    schema = "xnatctl.settings/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "file": str(paths.config_file()), "settings": rows},
            columns=(
                Column(key="setting", title="setting"),
                Column(key="value", title="value"),
                Column(key="origin", title="origin"),
            ),
            rows=[{**row, "value": "" if row["value"] is None else row["value"]} for row in rows],
            identifiers=tuple(str(row["setting"]) for row in rows),
        )
    )


@click.command(name="set-profile", help="Make a profile, or change what is named here in one that exists.")
@click.argument("name")
@click.option("--url", help="The server's URL.")
@click.option("--username", help="The user to log in as.")
@click.option("--timeout", type=float, help="Seconds for one whole request.")
@click.option("--ca-cert", help="File with the certificate authority of the server.")
@click.option("--verify-tls/--no-verify-tls", default=None, help="Check the server's certificate, or do not.")
@click.option("--mode", help="Transport to use.")
@click.option("--workers", type=click.IntRange(min=1), help="Requests at the same time.")
@common_options
@pass_app
def set_profile(app: App, name: str, **settings: Any) -> None:
    """Passwords are not taken here: `auth login` keeps a session instead."""
    given = {key: value for key, value in settings.items() if value is not None}
    if "url" in given:
        from xnatctl.xnat.urls import normalise_server

        given["url"] = normalise_server(given["url"])

    def change(document: dict[str, Any]) -> None:
        profiles = document.setdefault("profiles", {}) or {}
        document["profiles"] = profiles
        if name not in profiles and "url" not in given:
            raise ConfigError(f"The new profile {name} needs a server.", hint="Add --url https://...")
        profiles[name] = {**(profiles.get(name) or {}), **given}

    file = edit_config(change)
    app.render(_path_document(str(file), "xnatctl.profile/1", profile=name, **given))


@click.command(help="Choose the profile that is used when none is named.")
@click.argument("name")
@common_options
@pass_app
def use(app: App, name: str) -> None:
    """The profile must exist."""
    profiles = load_config().get("profiles") or {}
    if name not in profiles:
        raise ConfigError(f"There is no profile {name!r}.", hint=f"There are: {', '.join(profiles) or 'none'}.")

    def change(document: dict[str, Any]) -> None:
        document["default_profile"] = name

    file = edit_config(change)
    app.render(_path_document(str(file), "xnatctl.profile/1", profile=name))
