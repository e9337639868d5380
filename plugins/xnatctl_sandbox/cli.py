"""The commands `sandbox start` and `sandbox demo`."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from xnatctl.api import Column, Document, PluginUnavailable, UsageError
from xnatctl.api.commands import App, WholeNumber, common_options, pass_app
from xnatctl.api.system import ENDING
from xnatctl_sandbox.demo import run_demo
from xnatctl_sandbox.server import Sandbox
from xnatctl_sandbox.world.errors import PortUnavailable

if TYPE_CHECKING:
    from xnatctl_sandbox.world.records import Project, User

#: Where an XNAT listens by default (xnat-api 5.1).
_DICOM_PORT = 8104
VERSIONS = ("1.7.7", "1.8.2", "1.8.3", "1.8.4", "1.8.11")


@click.command(help="Run an XNAT-compatible server on this machine until Ctrl-C; it listens on 127.0.0.1 only.")
@click.option(
    "--port", type=WholeNumber(min=0, max=65535), default=8080, show_default=True, help="0 takes any free port."
)
@click.option(
    "--dicom-port",
    type=WholeNumber(min=0, max=65535),
    help="Port of the DICOM Receiver; 0 takes any free one. Without this option 8104, or any free one when that is"
    " taken, and no receiver at all when pynetdicom is not installed.",
)
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
def start(app: App, port: int, dicom_port: int | None, directory: str | None, version: str) -> None:
    """Prints where it is and who may log in, then serves."""
    stop = _stop_signal()
    warnings.filterwarnings("ignore", module="pydicom")  # of what clients send
    with _sandbox(app, port, dicom_port, directory, version) as sandbox:
        schema = "xnatctl.sandbox/1"
        projects = sandbox.state.projects.values()
        users = [
            {"user": user.login, "password": user.password, "rights": rights_of(user, projects)}
            for user in sandbox.state.users.values()
        ]
        receivers = [scp.ae_title for scp in sandbox.state.scps if scp.enabled and sandbox.dicom_port is not None]
        data: dict[str, Any] = {
            "url": sandbox.url,
            "dicom": {"host": "127.0.0.1", "port": sandbox.dicom_port, "ae_titles": receivers} if receivers else None,
            "directory": str(sandbox.directory),
            "version": version,
            "users": users,
        }
        summary = [f"XNAT {version} sandbox at {sandbox.url}, data in {sandbox.directory}. Stop with Ctrl-C."]
        if receivers:
            summary.append(
                f"DICOM Receiver at 127.0.0.1:{sandbox.dicom_port}, called AE title {' or '.join(receivers)}."
            )
        app.render(
            Document(
                schema=schema,
                data={"schema": schema, **data},
                columns=(Column(key="user"), Column(key="password"), Column(key="rights", fit="wrap")),
                rows=users,
                identifiers=(sandbox.url,),
                summary=tuple(summary),
            )
        )
        _wait_for(stop)


@click.command(help="Make a small synthetic exam, upload it to a sandbox, verify it, and show where to look.")
@click.option("--dir", "directory", type=click.Path(file_okay=False), help="Keep exam and server data here.")
@common_options
@pass_app
def demo(app: App, directory: str | None) -> None:
    """Run the demonstration; everything happens on this machine."""
    run_demo(app, directory)


def rights_of(user: User, projects: Iterable[Project]) -> str:
    """What a user may do, for people."""
    if user.admin:
        return "everything"
    verbs = {"owner": "owns", "member": "may upload to", "collaborator": "may read"}
    by_verb: dict[str, list[str]] = {}
    for project in projects:
        if (role := project.roles.get(user.login)) is not None:
            by_verb.setdefault(verbs[role], []).append(project.id)
    return "; ".join(f"{verb} {', '.join(ids)}" for verb, ids in by_verb.items()) or "nothing"


def _sandbox(app: App, port: int, dicom_port: int | None, directory: str | None, version: str) -> Sandbox:
    """A server with both its ports, or an error that names the port."""
    if find_spec("pynetdicom") is None:
        if dicom_port is not None:
            raise PluginUnavailable(
                "The sandbox's DICOM Receiver needs pynetdicom, which is not installed.",
                hint="Install with: pip install pynetdicom. Leave --dicom-port out to have no DICOM Receiver.",
            )
        app.info("No DICOM Receiver: pynetdicom is not installed. Install with: pip install pynetdicom")
        wanted: list[int | None] = [None]
    else:
        wanted = [_DICOM_PORT, 0] if dicom_port is None else [dicom_port]
    fresh = directory is not None and not os.path.lexists(directory)
    for number, choice in enumerate(wanted):
        try:
            sandbox = Sandbox(directory, port=port, dicom_port=choice, version=version)
        except PortUnavailable as error:
            if directory is not None and fresh:
                shutil.rmtree(directory, ignore_errors=True)
            if error.dicom and number + 1 < len(wanted):
                continue
            option = "--dicom-port" if error.dicom else "--port"
            raise UsageError(f"{error} Choose another with {option}; 0 takes any free one.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"The sandbox cannot use the directory {directory}: {reason}.", hint="Choose another with --dir."
            ) from error
        if number:
            app.warn(f"Port {_DICOM_PORT} is in use; the DICOM Receiver listens on {sandbox.dicom_port}.")
        return sandbox
    raise AssertionError("one choice is always tried")


def _stop_signal() -> SimpleQueue[int]:
    """Gets Ctrl-C and other signals: all are the ordinary end, from before anybody is told that we run.

    A signal can come at any line of the main thread, and so within a wait for an Event, which holds a lock that
    `Event.set` needs. Putting into this kind of queue is safe there.
    """
    stop: SimpleQueue[int] = SimpleQueue()
    for number in ENDING:
        signal.signal(number, lambda received, _: stop.put(received))
    return stop


def _wait_for(stop: SimpleQueue[int]) -> None:
    """Wait for a signal. A wait without an end could not be interrupted on Windows."""
    while True:
        with suppress(Empty):
            stop.get(timeout=0.5)
            return
