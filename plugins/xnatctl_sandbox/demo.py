"""`sandbox demo`: a server, an exam, a real upload through the public command, and a comparison of what arrived."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xnatctl.api import UsageError, VerificationFailed, XnatctlError
from xnatctl.api.commands import App
from xnatctl.api.system import join_command
from xnatctl_sandbox.demo_exam import write_demo_exam
from xnatctl_sandbox.server import Sandbox


def run_demo(app: App, directory: str | None) -> None:
    """Run the demonstration below `directory`, or below a new temporary directory; both are kept.

    Raises UsageError for a directory that cannot be used, VerificationFailed when something else arrived.
    """
    root = Path(directory or tempfile.mkdtemp(prefix="xnatctl-demo-"))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The demonstration cannot use the directory {root}: {error.strerror}.", hint="Choose another with --dir."
        ) from error
    with Sandbox(root / "xnat") as sandbox:
        app.info(f"An XNAT-compatible server (version {sandbox.state.version}) runs at {sandbox.url}.")
        exam = root / "exam"
        files = write_demo_exam(exam, series=3, instances=40)
        exam.joinpath("notes.txt").write_text("This file is not DICOM.\n", encoding="ascii", newline="\n")
        app.info(f"The synthetic exam {exam} has {len(files)} instances in 3 series.")
        for command in (
            ["session", "upload", str(exam), "-P", "DEMO", "-S", "phantom", "-E", "phantom_1"],
            ["scan", "list", "-P", "DEMO", "-E", "phantom_1"],
        ):
            app.info("")
            app.info(f"$ {join_command(['xnatctl', *command])}")
            _xnatctl(sandbox, command)
        _compare(sandbox, files)
    app.info("")
    app.info(f"The server's disk holds all {len(files)} instances, with the data sets that were sent.")
    app.info(f"Their files: {root / 'xnat' / 'archive'}")
    app.info(
        f"Start the server again with: {join_command([_program(), 'sandbox', 'start', '--dir', str(root / 'xnat')])}"
    )
    app.info(f"To remove everything, delete the folder {root}")


def _program() -> str:
    """How to call this program again: by its path where a shell does not find it by its name."""
    called, found = Path(sys.argv[0]), shutil.which("xnatctl")
    is_found = found is not None and Path(found).parent.resolve() == called.parent.resolve()
    return "xnatctl" if is_found or called.stem != "xnatctl" else str(called)


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


def _compare(sandbox: Sandbox, files: Mapping[str, Path]) -> None:
    """Compare data sets and pixel data on the server's disk with the exam: XNAT does not keep the bytes of headers."""
    import pydicom

    stored = {entry["sop_instance_uid"]: entry["path"] for entry in sandbox.instances() if entry["place"] == "archive"}
    if set(stored) != set(files):
        raise VerificationFailed("The instances on the server's disk are not those that were uploaded.")
    for uid, path in files.items():
        if pydicom.dcmread(stored[uid]) != pydicom.dcmread(path):
            raise VerificationFailed(f"The data set on the server's disk is not the one of {path}.")
