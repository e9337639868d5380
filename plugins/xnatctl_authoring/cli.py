"""The commands `plugins check` and `plugins new`."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click

from xnatctl.api import Column, Document, PluginUnavailable, UsageError, counted
from xnatctl.api.commands import App, Number, common_options, pass_app
from xnatctl_authoring.check import check_plugin
from xnatctl_authoring.new import KINDS, check_name, distribution_of, new_files, package_of, write_files
from xnatctl_authoring.subject import subjects_of

_COLUMNS = (
    Column(key="provided", title="Provides"),
    Column(key="test", fit="wrap", drop=1),
    Column(key="result"),
    Column(key="message", fit="wrap"),
)


@click.command(
    help="Run the contracts of the test kit on a plugin: an installed one by its NAME, or the PATH of a folder with "
    "pyproject.toml or of a Python file. Each contract runs in a process of its own, against a server on this machine. "
    "The tests of a folder are run as well: they give the contracts their examples."
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
            summary=(f"{passed:,} of {counted(len(findings), 'test')} passed.",),
        )
    )
    if failed:
        app.exit_with(PluginUnavailable.exit_code)


@click.command(
    help="Write the distribution of a new plugin into a folder xnatctl-NAME: its package, its tests and a README. It "
    "does something small and passes its tests as it is. NAME is the name of the plugin and of what it provides.\n\n"
    "\b\nKIND is one of:\n" + "\n".join(f"  {name:<20}{kind.purpose}" for name, kind in KINDS.items())
)
@click.argument("kind", type=click.Choice(tuple(KINDS)), metavar="KIND")
@click.argument("name")
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The folder that the new folder is made in; the current one without this option.",
)
@common_options
@pass_app
def new(app: App, kind: str, name: str, directory: Path) -> None:
    """Refuse a name that is taken, and a folder that exists."""
    check_name(name)
    _refuse_taken(app, name)
    folder, made = directory / distribution_of(name), new_files(kind, name)
    write_files(folder, made)
    rows = [{"file": str(folder / file.path), "purpose": file.purpose} for file in made]
    schema = "xnatctl.plugin-new/1"
    app.render(
        Document(
            schema=schema,
            data={"schema": schema, "kind": kind, "name": name, "folder": str(folder), "files": rows},
            columns=(Column(key="file"), Column(key="purpose", fit="wrap", drop=1)),
            rows=rows,
            identifiers=tuple(row["file"] for row in rows),
            summary=(
                f"Made the plugin {name}: {KINDS[kind].example}.",
                f"Next: {app.commands.command('plugins', 'check', str(folder))}",
            ),
        )
    )


def _refuse_taken(app: App, name: str) -> None:
    """Raise UsageError for the name of a plugin, of what ours provide, of a group of commands, or of a package."""
    manager = app.registry.manager
    manager.load(1)
    taken = {f"plugin {plugin.name}" for plugin in manager.plugins}
    for plugin in manager.plugins:
        taken |= {f"{kind} {own.name}" for kind, own in app.registry.own_specs(plugin)}
    context = click.get_current_context().find_root()
    if isinstance(context.command, click.Group):
        taken |= {f"command {command}" for command in context.command.list_commands(context)}
    found = sorted(entry for entry in taken if entry.split()[1] == name)
    if not found and find_spec(package_of(name)) is not None:
        found = [f"package {package_of(name)}"]
    if found:
        raise UsageError(f"The name {name} is taken by the {found[0]}.", hint="Choose another name.")
