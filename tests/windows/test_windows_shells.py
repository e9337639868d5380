"""Commands that are printed, run as they are printed by the shells of Windows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from systems import is_wine

from xnatctl.operating_system.command_line import split_command
from xnatctl.testing.exam import write_exam

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows: `tox -e windows` runs it under Wine")

NAMES = ("-P", "DEMO", "-S", "subj01", "-E", "sess01")


@pytest.fixture
def odd(tmp_path):
    """An exam in a folder whose name shells would read in another way without quotes."""
    return write_exam(tmp_path / "o'wn, data & (more) ^ 100% ü;", series=2, instances=5, seed=7, clutter=False)


@pytest.fixture(
    params=[
        "cmd",
        *(
            pytest.param(
                name,
                marks=pytest.mark.skipif(
                    is_wine() or shutil.which(name) is None, reason=f"{name} is not installed, or only in name"
                ),
            )
            for name in ("powershell", "pwsh")
        ),
    ]
)
def shell(request, environment, tmp_path):
    """Run a line in a shell, from another folder; the interpreter stands for `xnatctl.exe`."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(line: str) -> subprocess.CompletedProcess[bytes]:
        program, _, words = line.partition(" ")
        assert program == "xnatctl"
        line = f'"{sys.executable}" -m xnatctl {words}'
        command: str | list[str] = f'cmd /d /s /c "{line}"'
        if request.param != "cmd":
            command = [request.param, "-NoProfile", "-Command", f"& {line}; exit $LASTEXITCODE"]
        return subprocess.run(
            command,
            env=environment,
            cwd=elsewhere,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=False,
        )

    return run


def test_an_upload_is_finished_and_archived_by_what_is_printed(xnatctl, sandbox, odd, shell):
    """The rest of it first; the report of that names the command that archives it."""
    refused = {"match": {"path": "/services/import"}, "nth": [*range(4, 99)], "action": "status", "status": 403}
    sandbox.faults.load([refused])
    failed = xnatctl("session", "upload", odd.directory, *NAMES, "--mode", "gradual", "--prearchive", "-o", "json")
    assert failed.code == 5, failed.err
    sandbox.faults.load([])
    done = shell(failed.document["next"][0])
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    assert {one["sop_instance_uid"]: one["sha256"] for one in sandbox.instances()} == odd.digests
    again = xnatctl("session", "upload", odd.directory, *NAMES, "--prearchive", "-o", "json")
    archived = shell(again.document["next"][0])
    assert archived.returncode == 0, (archived.args, archived.stdout, archived.stderr)
    assert {one["place"] for one in sandbox.instances()} == {"archive"}


def test_a_listed_upload_is_resumed_by_what_is_printed(xnatctl, sandbox, odd, shell):
    sandbox.faults.load([{"match": {"path": "/services/import"}, "nth": 5, "action": "status", "status": 403}])
    failed = xnatctl("session", "upload", odd.directory, *NAMES, "--mode", "gradual", "--workers", "1")
    assert failed.code == 5, failed.err
    sandbox.faults.load([])
    shown = xnatctl("upload", "status").out.decode()
    (line,) = re.findall(r"xnatctl upload resume [^\r\n]*", shown)
    done = shell(line)
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    assert {one["sop_instance_uid"]: one["sha256"] for one in sandbox.instances()} == odd.digests


def test_what_fetches_content_is_one_command(xnatctl, odd):
    """PowerShell 5 does not know `&&`."""
    folder = odd.directory / "series 1"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 33000\n"
    (folder / "pointer.dcm").write_bytes(pointer)
    done = xnatctl("session", "upload", odd.directory, *NAMES, "-o", "json")
    assert done.code == 5, done.err
    (reason,) = [item["reason"] for item in done.document["items"] if Path(item["path"]).name == "pointer.dcm"]
    _, _, command = reason.partition("fetch it with: ")
    assert split_command(command) == ["git", "-C", str(folder), "lfs", "pull"]
