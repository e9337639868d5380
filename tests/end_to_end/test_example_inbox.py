"""A distribution of somebody else adds a stage and a transport to another place, by the public API alone."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-inbox"
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where pip put the example."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(target)}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "there"
    made.mkdir()
    return made


def test_it_imports_the_public_api_alone():
    for path in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = [name for name in modules if name.split(".")[0] == "xnatctl"]
            assert all(name.startswith("xnatctl.api") for name in foreign), path


def test_its_stage_copies_the_report_of_a_session(xnatctl, sandbox, alice, exam, site, folder, assert_exactly):
    env = {**alice, **site, "SITE_REPORTS": str(folder)}
    dry = xnatctl("session", "upload", exam.directory, *UPLOAD, "--dry-run", env=env)
    assert f"Copy the report to {folder}" in dry.out
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    copy = json.loads((folder / "DEMO_e.json").read_text())
    assert copy["counts"]["verified"] == copy["counts"]["found"] == len(exam.digests)
    assert copy["items"] == done.document["items"]


def test_what_its_stage_cannot_do_is_found_before_anything_is_sent(xnatctl, sandbox, alice, exam, site, folder):
    env = {**alice, **site, "SITE_REPORTS": str(folder / "missing")}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env=env)
    assert done.code == 2, done.err
    assert "Make the folder" in done.err
    assert not sandbox.instances()


def test_a_stage_that_fails_keeps_the_command_from_zero(xnatctl, sandbox, alice, exam, site, folder, assert_exactly):
    (folder / "DEMO_e.json").mkdir()
    env = {**alice, **site, "SITE_REPORTS": str(folder)}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env=env)
    assert done.code == 6, done.err
    assert "cannot be copied" in done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    (folder / "DEMO_e.json").rmdir()
    again = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert again.code == 0, again.err
    assert again.document["counts"]["sent"] == 0


def test_its_transport_delivers_to_a_place_that_is_no_xnat(xnatctl, sandbox, exam, site, folder):
    command = ("session", "upload", exam.directory, "--mode", "inbox", "-o", "json")
    done = xnatctl(*command, "--folder", folder, env=site)
    assert done.code == 0, done.err
    assert done.document["destination"]["state"] == "receiver"
    assert done.document["destination"]["server"] == f"inbox:{folder}"
    held = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert held == exam.digests
    again = xnatctl(*command, "--folder", folder, env=site)
    assert (again.code, again.document["counts"]["sent"]) == (0, 0)
    other = folder.parent / "elsewhere"
    other.mkdir()
    assert xnatctl(*command, "--folder", other, env=site).document["counts"]["sent"] == len(exam.digests)
    assert sandbox.requests == []


def test_a_relative_folder_is_another_place_in_another_directory(xnatctl, exam, site, tmp_path):
    """The same words in another directory deliver there, and an upload is not resumed to another place."""
    command = ("session", "upload", exam.directory, "--mode", "inbox", "--folder", "out", "-o", "json")
    for name in ("a", "b"):
        (tmp_path / name / "out").mkdir(parents=True)
        done = xnatctl(*command, env=site, cwd=tmp_path / name)
        assert (done.code, done.document["counts"]["sent"]) == (0, len(exam.digests)), done.err
        assert len(list((tmp_path / name / "out").iterdir())) == len(exam.digests)
    listed = xnatctl("upload", "status", "-o", "json", env=site).document["uploads"]
    first = next(row["id"] for row in listed if row["server"].endswith("a/out"))
    resumed = xnatctl("upload", "resume", first, env=site)
    assert resumed.code == 7
    assert f"goes to inbox:{tmp_path / 'a' / 'out'}" in resumed.err
    assert xnatctl("upload", "resume", first, env=site, cwd=tmp_path / "a").code == 0


def test_an_interrupt_ends_the_batch_and_the_next_run_delivers_the_rest(xnatctl, exam, site, folder, install):
    watcher = (
        "import signal\nfrom xnatctl.api import EventKind, hookimpl\n"
        "@hookimpl\ndef xnatctl_on_event(event):\n"
        "    if event.kind is EventKind.ITEM_DONE:\n        signal.raise_signal(signal.SIGINT)\n"
    )
    path = install("watcher", watcher)["PYTHONPATH"]
    command = (
        "session",
        "upload",
        exam.directory,
        "--mode",
        "inbox",
        "--folder",
        folder,
        "--workers",
        "1",
        "-o",
        "json",
    )
    broken = xnatctl(*command, env={"PYTHONPATH": f"{path}:{site['PYTHONPATH']}"})
    assert broken.code == 130, broken.err
    done = xnatctl(*command, env=site)
    assert done.code == 0, done.err
    counts = done.document["counts"]
    assert counts["sent"] + counts["skipped"] == counts["found"] == len(exam.digests)
    held = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert held == exam.digests
