"""The command `plugins check`."""

from __future__ import annotations

from dataclasses import asdict

import click

from xnatctl.api import Column, Document, PluginUnavailable, counted
from xnatctl.api.commands import App, Number, common_options, pass_app
from xnatctl_authoring.check import check_plugin
from xnatctl_authoring.subject import subjects_of

_COLUMNS = (
    Column(key="provided", title="Provides"),
    Column(key="test", fit="wrap", drop=1),
    Column(key="result"),
    Column(key="message", fit="wrap"),
)


@click.command(
    help="Run the contracts of the test kit on a plugin: an installed one by its NAME, or the PATH of a folder with "
    "pyproject.toml or of a Python file. Each contract runs in a process of its own, against a server on this machine."
)
@click.argument("plugin", metavar="NAME|PATH")
@click.option(
    "--limit",
    type=Number(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit of each process.",
)
@common_options
@pass_app
def check(app: App, plugin: str, limit: float) -> None:
    """Exit code 8 when something failed."""
    subjects = subjects_of(app, plugin)
    findings = [finding for subject in subjects for finding in check_plugin(subject, limit)]
    failed = [finding for finding in findings if finding.result == "failed"]
    schema = "xnatctl.plugin-check/1"
    rows = [asdict(finding) for finding in findings]
    passed = sum(finding.result == "passed" for finding in findings)
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "passed": not failed, "tests": rows},
            columns=_COLUMNS,
            rows=rows,
            identifiers=tuple(f"{finding.provided}: {finding.test}" for finding in failed),
            summary=(f"{passed} of {counted(len(findings), 'test')} passed.",),
        )
    )
    if failed:
        app.exit_with(PluginUnavailable.exit_code)
