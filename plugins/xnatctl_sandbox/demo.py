"""`sandbox demo`: a server, an exam, a real upload through the public command, and where to look."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from xnatctl.api import App, UsageError, VerificationFailed, XnatctlError, common_options, pass_app
from xnatctl.testing import Exam, write_exam
from xnatctl_sandbox.server import Sandbox


@click.command(help="Make a small synthetic exam, upload it to a sandbox, verify it, and show where to look.")
@click.option("--dir", "directory", type=click.Path(file_okay=False), help="Keep exam and server data here.")
@common_options
@pass_app
def demo(app: App, directory: str | None) -> None:
    """Everything happens on this machine."""
    root = Path(directory or tempfile.mkdtemp(prefix="xnatctl-demo-"))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The demonstration cannot use the directory {root}: {error.strerror}.", hint="Choose another with --dir."
        ) from error
    with Sandbox(root / "xnat") as sandbox:
        app.info(f"An XNAT-compatible server (version {sandbox.state.version}) runs at {sandbox.url}.")
        exam = write_exam(root / "exam", series=3, instances=40, clutter=False)
        exam.directory.joinpath("notes.txt").write_text("This file is not DICOM.\n")
        app.info(f"The synthetic exam {exam.directory} has {len(exam.instances)} instances in 3 series.")
        for command in (
            ["session", "upload", str(exam.directory), "-P", "DEMO", "-S", "phantom", "-E", "phantom_1"],
            ["scan", "list", "-P", "DEMO", "-E", "phantom_1"],
        ):
            app.info("")
            app.info(f"$ {shlex.join(['xnatctl', *command])}")
            _xnatctl(sandbox, command)
        _compare(sandbox, exam)
    app.info("")
    app.info(f"The server's disk holds all {len(exam.instances)} instances, with the data sets that were sent.")
    app.info(f"Their files: {root / 'xnat' / 'archive'}")
    app.info(f"Start the server again with: {shlex.join(['xnatctl', 'sandbox', 'start', '--dir', str(root / 'xnat')])}")


def _xnatctl(sandbox: Sandbox, arguments: list[str]) -> None:
    """The public command, in a process of its own, as a user would run it."""
    login = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XNAT")}
    with tempfile.TemporaryDirectory() as home:
        place = {"XNATCTL_CONFIG": f"{home}/config.yaml", "XNATCTL_STATE_DIR": f"{home}/state"}
        Path(place["XNATCTL_CONFIG"]).touch()
        done = subprocess.run(
            [sys.executable, "-m", "xnatctl", *arguments], env={**kept, **login, **place}, check=False
        )
    if done.returncode:
        raise XnatctlError(f"The command ended with exit code {done.returncode}.", hint="Its message is above.")


def _compare(sandbox: Sandbox, exam: Exam) -> None:
    """Compare data sets and pixel data on the server's disk with the exam. XNAT does not keep the bytes of headers."""
    import pydicom

    stored = {entry["sop_instance_uid"]: entry["path"] for entry in sandbox.instances() if entry["place"] == "archive"}
    if set(stored) != set(exam.instances):
        raise VerificationFailed("The instances on the server's disk are not those that were uploaded.")
    for uid, instance in exam.instances.items():
        if pydicom.dcmread(stored[uid]) != pydicom.dcmread(instance.path):
            raise VerificationFailed(f"The data set on the server's disk is not the one of {instance.path}.")
