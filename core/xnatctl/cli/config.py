"""`config init | path | show`: the configuration file as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import click

from xnatctl.cli.app import App, pass_app, pass_unchecked
from xnatctl.cli.list_options import list_options
from xnatctl.cli.options import common_options, server_options
from xnatctl.errors import ConfigError, XnatctlError
from xnatctl.model.document import Column, Document
from xnatctl.model.words import human_duration, plain_number
from xnatctl.plugin.guard import BLOCK_VARIABLE
from xnatctl.settings import paths
from xnatctl.settings.config import create_config, load_config, plugin_lists
from xnatctl.settings.profiles import Settings
from xnatctl.settings.schema import PROFILE

_STARTER = """\
# Configuration of xnatctl. `xnatctl config show` prints every setting with its origin.
#
# default_profile: production     # when neither --profile nor XNAT_PROFILE names one
#
# profiles:
#   production:
#     url: https://xnat.example.org
#     username: me                # no password here: use `xnatctl auth login`
#     timeout: 43200              # time limit of one request in seconds; default 21600
#     mode: tar                   # tar, zip, gradual, or the transport of a plugin
#     workers: 4
#     overwrite: delete           # delete, append or none
#     default_project: LAB        # the project of commands without -P
#     server_budget:              # what campaigns may ask of the server at once
#       sessions: 4
#       requests: 8
#       archiving: 2
#
# output: table                   # table, json, ndjson, csv, tsv, yaml, or the formatter of a plugin
#
# plugins:
#   block: [name]
"""

_MASKED = "(set, not shown)"
_FILE_SCHEMA = "xnatctl.config-file/1"
_SETTING_COLUMNS = (
    Column(key="setting"),
    Column(key="value", detail=True),
    Column(key="shown", title="Value"),
    Column(key="origin", fit="wrap"),
)


def _row_document(schema: str, identifier: str, row: dict[str, Any]) -> Document:
    return Document(
        schema=schema,
        data={"schema": schema, **row},
        columns=tuple(Column(key=key) for key in row),
        rows=[row],
        identifiers=(identifier,),
    )


def _render_anyway(app: App, document: Document) -> None:
    """Render a document even when the configuration is invalid, so that the user can find the file to fix."""
    if app.output is None:
        try:
            app.output = app.format_name()
        except ConfigError:
            app.output = "table"
    app.render(document)


_INIT = """Make a profile by answering questions, or write a commented configuration file to start from.

At a terminal, it asks for the name of the profile, the server, the user and the password, tests the login, shows the
projects that you can write to, and writes the profile at the end. Ctrl-C ends it without writing anything. Of a profile
that exists, it offers the present values, and keeps every setting that it does not ask for.

Without a terminal, or with --template, it writes a file with comments, and never over an existing one.
"""


@click.command(help=_INIT, short_help="Make a profile by answering questions, or write a file to start from.")
@click.option("--template", is_flag=True, help="Write the commented file, also at a terminal; asks nothing.")
@common_options
@pass_app
def init(app: App, template: bool) -> None:
    """Refuse to replace an existing file or a dangling link by the commented one."""
    if app.interactive and not template:
        _ask_for_profile(app)
        return
    file = create_config(_STARTER)
    app.render(_row_document(_FILE_SCHEMA, str(file), {"path": str(file), "exists": True}))


def _ask_for_profile(app: App) -> None:
    from xnatctl.cli.auth import keep_login
    from xnatctl.cli.profiles import about_default, profile_flags, save_profile
    from xnatctl.cli.setup import Setup

    answers = Setup(app).run()
    file, _ = save_profile(answers.name, answers.settings, without=PROFILE.keys() - answers.settings.keys())
    name, url = answers.name, answers.settings["url"]
    known = load_config(file)
    lines, flags = list(about_default(app, known, name)), profile_flags(known, name)
    following = app.commands.command("auth", "login", *flags, server=False)
    if answers.client is not None and answers.keeps:
        logout = app.commands.command("auth", "logout", *flags, server=False)
        app.use_profile(name, url)
        try:
            keep_login(app, answers.client)
            lines.append(f"The login is kept. To end it: {logout}")
            following = app.commands.command("doctor", *flags, server=False)
        except XnatctlError as error:
            app.report_error(error)
            app.warn("The profile is written; the login was not kept.")
    lines.append(f"Next: {following}")
    row = {"profile": name, "file": str(file), "url": url}
    document = _row_document(_FILE_SCHEMA, str(file), row)
    data = {"schema": _FILE_SCHEMA, "path": str(file), "exists": True, "profile": name, "url": url}
    app.render(replace(document, data=data, summary=tuple(lines)))


@click.command(help="Print where the configuration file is.")
@common_options
@pass_unchecked
def path(app: App) -> None:
    """Print the path even when the file does not exist or is invalid."""
    file = paths.config_file()
    _render_anyway(app, _row_document(_FILE_SCHEMA, str(file), {"path": str(file), "exists": file.exists()}))


@click.command(help="Show every setting with its value and where it comes from; secrets are masked.")
@list_options(_SETTING_COLUMNS)
@server_options
@common_options
@pass_app
def show(app: App) -> None:
    """Contact no server."""
    rows = [
        {"setting": setting, "value": plain_number(value), "origin": origin}
        for setting, value, origin in [
            *_plain(app.settings),
            *_budget(app.settings),
            *_secret(app.settings),
            *_options(app.settings, app.declared_options()),
            *_sections(app.settings, app.declared_source_options()),
            *_plugins(),
        ]
    ]
    schema = "xnatctl.settings/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "file": str(paths.config_file()), "settings": rows},
            listed="settings",
            columns=_SETTING_COLUMNS,
            rows=[{**row, "value": _cell(row["value"]), "shown": _shown(row)} for row in rows],
            identifiers=tuple(str(row["setting"]) for row in rows),
        )
    )
    for line in app.setting_warnings():
        app.warn(line)


Row = tuple[str, Any, str]


def _cell(value: Any) -> Any:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else value


def _shown(row: Mapping[str, Any]) -> Any:
    """A value for people: a duration with its unit."""
    return human_duration(row["value"]) if row["setting"] == "timeout" else _cell(row["value"])


def _plain(settings: Settings) -> Iterator[Row]:
    yield "config_file", str(paths.config_file()), _origin(paths.CONFIG_VARIABLE, "XDG_CONFIG_HOME")
    yield "state_directory", str(paths.state_directory()), _origin(paths.STATE_VARIABLE, "XDG_STATE_HOME")
    for name in (
        "profile_name", "url", "username", "timeout", "verify_tls", "ca_cert", "client_cert", "client_key", "mode",
        "workers", "overwrite", "default_project", "output", "credential_sources", "store",
    ):  # fmt: skip
        value = getattr(settings, name)
        yield name, value.value, value.origin


def _budget(settings: Settings) -> Iterator[Row]:
    given = settings.profile.get("server_budget") or {}
    for key, value in asdict(settings.server_budget).items():
        origin = "default" if given.get(key) is None else f"profile {settings.profile_name.value}"
        yield f"server_budget.{key}", value, origin


def _origin(*variables: str) -> str:
    return next((f"variable {name}" for name in variables if os.environ.get(name)), "default")


def _secret(settings: Settings) -> Iterator[Row]:
    """The source of the password. Arguments of a helper may contain secrets, so only its command name is shown."""
    where = f"profile {settings.profile_name.value}"
    if settings.flags.password is not None:
        yield "password", _MASKED, "flag --password or --password-stdin"
    for key, variable in (("password", "XNAT_PASS"), ("token", "XNAT_TOKEN")):
        if os.environ.get(variable):
            yield key, _MASKED, f"variable {variable}"
        if settings.profile.get(key):
            yield key, _MASKED, where
    if helper := settings.profile.get("credential_helper"):
        yield "credential_helper", f"{helper[0]}{' ...' if len(helper) > 1 else ''}", where


def _options(settings: Settings, declared: Mapping[str, bool]) -> Iterator[Row]:
    """Options of transports. What no active transport declares may be a secret of an inactive one."""
    where = f"profile {settings.profile_name.value}"
    for key, value in (settings.profile.get("options") or {}).items():
        yield f"options.{key}", _MASKED if declared.get(key, True) else value, where


def _sections(settings: Settings, declared: Mapping[str, bool]) -> Iterator[Row]:
    """Options of credential sources, masked in the same way."""
    where = f"profile {settings.profile_name.value}"
    for source, section in (settings.profile.get("credentials") or {}).items():
        for key, value in (section or {}).items():
            name = f"{source}.{key}"
            yield f"credentials.{name}", _MASKED if declared.get(name, True) else value, where


def _plugins() -> Iterator[Row]:
    block, allow = plugin_lists()
    yield "plugins.block", block or None, "configuration file" if block else "default"
    if os.environ.get(BLOCK_VARIABLE):
        yield "plugins.block", os.environ[BLOCK_VARIABLE], f"variable {BLOCK_VARIABLE}"
    yield "plugins.allow", allow, "default" if allow is None else "configuration file"
