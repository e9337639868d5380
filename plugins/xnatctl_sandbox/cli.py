"""`sandbox start`."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

from xnatctl.api import App, Column, Document, UsageError, common_options, pass_app
from xnatctl_sandbox.server import Sandbox

VERSIONS = ("1.7.7", "1.8.2", "1.8.3", "1.8.4", "1.8.11")


@click.command(help="Run an XNAT-compatible server on this machine until Ctrl-C; it listens on 127.0.0.1 only.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free port.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False),
    help="Keep the data here; without it they are deleted at the end.",
)
@click.option(
    "--version", type=click.Choice(VERSIONS), default="1.8.11", show_default=True, help="Behave like this XNAT."
)
@common_options
@pass_app
def start(app: App, port: int, directory: str | None, version: str) -> None:
    """Prints where it is and who may log in, then serves."""
    try:
        sandbox = Sandbox(directory, port=port, version=version)
    except (OSError, SystemExit, ValueError) as error:
        raise UsageError(
            f"The sandbox cannot start on port {port}: {error}.", hint="Choose another with --port."
        ) from error
    with sandbox:
        schema = "xnatctl.sandbox/1"
        users = [{"user": user.login, "password": user.password} for user in sandbox.state.users.values()]
        data: dict[str, Any] = {
            "url": sandbox.url,
            "directory": str(sandbox.directory),
            "version": version,
            "users": users,
        }
        app.render(
            Document(
                schema=schema,
                data={"schema": schema, **data},
                columns=(Column(key="user", title="user"), Column(key="password", title="password")),
                rows=users,
                identifiers=(sandbox.url,),
                summary=(f"XNAT {version} sandbox at {sandbox.url}, data in {sandbox.directory}. Stop with Ctrl-C.",),
            )
        )
        _until_stopped()


def _until_stopped() -> None:
    """Wait for Ctrl-C or a signal; both are the ordinary end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):
        pass
