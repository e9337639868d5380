"""`doctor`: checks configuration, plugins, server and login."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from xnatctl.cli.app import App, pass_app
from xnatctl.cli.list_options import list_options
from xnatctl.cli.options import common_options, server_options
from xnatctl.cli.reserved import CHECKS
from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    PermissionDenied,
    PluginUnavailable,
    XnatctlError,
    exit_code_of,
)
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
_SERVER, _LOGIN = CHECKS[-2:]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Done:
    """A check that was made: its result, and the exit code and the error that it ended with."""

    name: str
    result: CheckResult
    code: int = 0
    error: XnatctlError | None = None


def _checks(app: App) -> Iterator[_Done]:
    """Run every check, core's first. What cannot succeed without the server is not tried when that check failed."""
    errors: dict[str, XnatctlError] = {}
    for name, check in _CORE.items():
        if name == _LOGIN and (error := errors.get(_SERVER)) is not None and _is_final(error):
            done = _Done(name=name, result=_not_tried(error), code=exit_code_of(error))
        else:
            done = _run(name, lambda check=check: check(app))  # type: ignore[misc]  # default binds the loop variable
        if done.error is not None:
            errors[name] = done.error
        yield done
    for name, provided in app.registry.checks().items():
        done = _run(name, lambda provided=provided: app.registry.load(provided)(app))  # type: ignore[misc]
        server = errors.get(_SERVER)
        if done.error is not None and server is not None and done.error.message == server.message:
            done = replace(done, result=_not_tried(server))
        yield done


def _is_final(error: XnatctlError) -> bool:
    """Whether a login fails for the same reason, or would show a password to something else than an XNAT."""
    return not isinstance(error, AuthenticationError | PermissionDenied)


def _not_tried(error: XnatctlError) -> CheckResult:
    """The result of a check that needs the server; the check of the server shows the error."""
    failed = "the server cannot be reached" if isinstance(error, ConnectionFailed) else "the check of the server failed"
    return CheckResult(status="skipped", message=f"not tried: {failed}")


def _run(name: str, check: Callable[[], object]) -> _Done:
    try:
        result: object = check()
        if not isinstance(result, CheckResult):
            raise XnatctlError(f"The check returned {type(result).__name__} instead of CheckResult.")
        if result.status not in ("ok", "warning", "failed", "skipped"):
            raise XnatctlError(f"The check returned the unknown status {result.status!r}.")
    except XnatctlError as error:
        code = XnatctlError.exit_code if isinstance(error, PluginFailed) else exit_code_of(error)
        failed = CheckResult(status="failed", message=error.message, hint=error.hint)
        return _Done(name=name, result=failed, code=code, error=error)
    return _Done(name=name, result=result, code=int(result.status == "failed"))


def _hints(rows: Sequence[Mapping[str, Any]], _total: int) -> Iterable[str]:
    return dict.fromkeys(f"Hint: {row['hint']}" for row in rows if row["hint"])


@click.command(help="Check configuration, plugins, server and login. The exit code is that of the first failure.")
@list_options(_COLUMNS)
@server_options
@common_options
@pass_app
def doctor(app: App) -> None:
    """Run every check, also after a failure. Never prompt for a password."""
    found = list(_checks(app))
    rows = [
        {
            "check": done.name,
            "status": done.result.status,
            "message": done.result.message,
            "hint": done.result.hint or "",
        }
        for done in found
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
            summary=tuple(_hints(rows, len(rows))),
            summarize=_hints,
        )
    )
    code = next((done.code for done in found if done.code), 0)
    if code:
        app.exit_with(code)
