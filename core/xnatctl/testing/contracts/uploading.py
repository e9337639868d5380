"""Uploads with an installed transport to the sandbox, in a process of its own, while the server misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import Policy
from xnatctl.plugin.registry import Registry
from xnatctl.testing.exam import Exam, write_exam
from xnatctl.testing.watch import Mistake, expect

_IMPORT = {"path": "services/import"}
#: What the server does to imports, by name.
SCRIPTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "an ordinary server": (),
    "lost answers": (
        {"match": _IMPORT, "nth": 1, "action": "store-then-cut"},
        {"match": _IMPORT, "nth": 3, "action": "cut-before-body"},
    ),
    "a session that expires": ({"match": _IMPORT, "nth": 2, "action": "expire-session", "login": "alice"},),
    "503": (
        {"match": _IMPORT, "nth": 1, "action": "status", "status": 503},
        {"match": _IMPORT, "nth": 3, "action": "store-then-status", "status": 503},
    ),
    "413": ({"match": _IMPORT, "nth": 2, "action": "status", "status": 413},),
}


def upload_to_sandbox(spec: Any, options: Mapping[str, Any], directory: Path, script: str, seconds: float) -> None:
    """Upload an exam with a transport; raises Mistake unless the command proves it and the disk of the server agrees.

    Skips where the transport is not installed, or the sandbox.
    """
    server = pytest.importorskip("xnatctl_sandbox.server", reason="install the extra: testing")
    registry = Registry(PluginManager(Policy()))
    provided = registry.transports().get(spec.name)
    if provided is None or provided.spec.target != spec.target:
        pytest.skip("install the distribution to upload with it to the sandbox")
    exam = write_exam(directory / "exam", series=2, instances=6, seed=13, clutter=False)
    with server.Sandbox(directory / "xnat") as sandbox:
        sandbox.faults.load(SCRIPTS[script])
        done = _run(sandbox.url, _arguments(spec, options, exam.directory), directory, seconds)
        _judge(done, exam, sandbox, script)


def _arguments(spec: Any, options: Mapping[str, Any], exam: Path) -> list[str]:
    flags: list[str] = []
    for option in spec.options:
        value = options.get(option.name)
        name = f"--{option.name.replace('_', '-')}"
        if value is None or value == option.default:
            continue
        flags += ([name] if value else []) if option.type is bool else [name, str(value)]
    where = ["-P", "DEMO", "-S", "subject", "-E", "session"]
    return ["session", "upload", str(exam), *where, "--mode", spec.name, *flags, "-o", "json"]


def _run(url: str, arguments: Sequence[str], directory: Path, seconds: float) -> subprocess.CompletedProcess[bytes]:
    (directory / "config.yaml").touch()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XNAT")}
    settings = {
        "XNAT_URL": url,
        "XNAT_USER": "alice",
        "XNAT_PASS": "alice",
        "XNATCTL_CONFIG": str(directory / "config.yaml"),
        "XNATCTL_STATE_DIR": str(directory / "state"),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    try:
        return subprocess.run(
            [sys.executable, "-m", "xnatctl", *arguments],
            env={**kept, **settings},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Mistake(f"an upload did not end within {seconds:g} s") from None


def _judge(done: subprocess.CompletedProcess[bytes], exam: Exam, sandbox: Any, script: str) -> None:
    """Exit code, document, and what is on the server's disk."""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line for line in said if line.startswith("Error:")]
    what = f"an upload ended with exit code {done.returncode} ({script}): {(errors or said or ['no message'])[0]}"
    expect(done.returncode == 0, what)
    try:
        json.loads(done.stdout)
    except ValueError:
        expect(False, f"an upload printed something beside the document: {done.stdout[:80]!r}")
    _compare(exam, sandbox)


def _compare(exam: Exam, sandbox: Any) -> None:
    """Each instance is stored once, with the data set of the disk: XNAT writes the head of a file anew."""
    import pydicom

    stored: dict[str, list[str]] = {}
    for entry in sandbox.instances():
        stored.setdefault(entry["sop_instance_uid"], []).append(entry["path"])
    lost = sorted(set(exam.instances) - set(stored))
    expect(
        not lost, f"an upload ended with exit code 0, and {len(lost)} instances are not on the server, first {lost[:1]}"
    )
    for uid, instance in exam.instances.items():
        expect(len(stored[uid]) == 1, f"{instance.path.name} is on the server {len(stored[uid])} times")
        same = pydicom.dcmread(stored[uid][0]) == pydicom.dcmread(instance.path)
        expect(same, f"the server stored another data set than that of {instance.path.name}")
