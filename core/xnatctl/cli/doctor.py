"""`doctor`: checks configuration, plugins, server and login."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.list_options import list_options
from xnatctl.cli.options import common_options, server_options
from xnatctl.cli.reserved import CHECKS
from xnatctl.errors import PluginUnavailable, XnatctlError, exit_code_of
from xnatctl.model.document import Column, Document
from xnatctl.model.words import counted
from xnatctl.plugin.discovery import UNUSABLE, Status
from xnatctl.plugin.guard import PluginFailed
from xnatctl.plugin.specs import CheckResult


def _configuration(app: App) -> CheckResult:
    from xnatctl.settings import paths

    file = paths.config_file()
    if problems := app.setting_warnings():
        return CheckResult(status="warning", message=" ".join(problems))
    return CheckResult(status="ok", message=str(file) if file.exists() else f"{file} does not exist; defaults apply")


def _plugins(app: App) -> CheckResult:
    """Raise PluginUnavailable for plugins that cannot be used."""
    registry = app.registry
    registry.check()
    states = [(plugin, *registry.state_of(plugin)) for plugin in registry.manager.plugins]
    active = [plugin for plugin, status, _ in states if status is Status.ACTIVE]
    others = [
        f"{status}: {plugin.name} ({plugin.origin}), {reason}"
        for plugin, status, reason in states
        if status is not Status.ACTIVE
    ]
    message = "; ".join([f"{counted(len(active), 'plugin')} active", *others])
    if failing := [plugin for plugin, status, _ in states if status in UNUSABLE]:
        raise PluginUnavailable(message, hint=f"xnatctl plugins block {registry.manager.reference(failing[0])}")
    return CheckResult(status="ok", message=message)


def _server(app: App) -> CheckResult:
    from xnatctl.xnat import site

    version = site.version(app.new_client())
    if not version.tuple:
        return CheckResult(
            status="warning",
            message=f"XNAT of unknown version ({version.text}): uploads are staged, and bundles are sent as zip",
        )
    if version.tuple < (1, 7):
        return CheckResult(
            status="failed", message=f"XNAT {version.text}: older than 1.7, which has no import by DICOM-zip"
        )
    if version.tuple < (1, 8, 4):
        return CheckResult(
            status="warning", message=f"XNAT {version.text}: no direct archive; uploads are staged instead"
        )
    return CheckResult(status="ok", message=f"XNAT {version.text} at {app.settings.server()}")


def _login(app: App) -> CheckResult:
    client = app.connect(prompts=False)
    return CheckResult(status="ok", message=f"logged in as {client.login_name}")


_COLUMNS = (
    Column(key="check"),
    Column(key="status"),
    Column(key="message", fit="wrap"),
    Column(key="hint", fit="wrap", detail=True),
)
_CORE: Mapping[str, Callable[[App], CheckResult]] = dict(
    zip(CHECKS, (_configuration, _plugins, _server, _login), strict=True)
)


def _checks(app: App) -> Iterator[tuple[str, CheckResult, int]]:
    """Run every check, core's first; yields (name, result, exit code)."""
    for name, check in _CORE.items():
        yield (name, *_run(lambda check=check: check(app)))  # type: ignore[misc]  # default binds the loop variable
    for name, provided in app.registry.checks().items():
        yield (name, *_run(lambda provided=provided: app.registry.load(provided)(app)))  # type: ignore[misc]


def _run(check: Callable[[], object]) -> tuple[CheckResult, int]:
    try:
        result: object = check()
        if not isinstance(result, CheckResult):
            raise XnatctlError(f"The check returned {type(result).__name__} instead of CheckResult.")
        if result.status not in ("ok", "warning", "failed"):
            raise XnatctlError(f"The check returned the unknown status {result.status!r}.")
    except PluginFailed as error:
        return CheckResult(status="failed", message=error.message, hint=error.hint), XnatctlError.exit_code
    except XnatctlError as error:
        return CheckResult(status="failed", message=error.message, hint=error.hint), exit_code_of(error)
    return result, 0 if result.status in ("ok", "warning") else 1


@click.command(help="Check configuration, plugins, server and login. The exit code is that of the first failure.")
@list_options(_COLUMNS)
@server_options
@common_options
@pass_app
def doctor(app: App) -> None:
    """Run every check, also after a failure. Never prompt for a password."""
    found = list(_checks(app))
    rows = [
        {"check": name, "status": result.status, "message": result.message, "hint": result.hint or ""}
        for name, result, _ in found
    ]
    schema = "xnatctl.doctor/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "checks": rows},
            listed="checks",
            columns=_COLUMNS,
            rows=rows,
            identifiers=tuple(f"{row['check']}: {row['status']}" for row in rows),
            summary=tuple(dict.fromkeys(f"Hint: {row['hint']}" for row in rows if row["hint"])),
        )
    )
    code = next((code for _, _, code in found if code), 0)
    if code:
        app.exit_with(code)
