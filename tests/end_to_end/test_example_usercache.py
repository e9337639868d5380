"""A distribution of somebody else delivers by way of the user cache: resume, retry, settling and verifying are core's."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-usercache"
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e", "--mode", "usercache")
#: Interrupts a run as soon as the first item is delivered.
WATCHER = """
import signal
from xnatctl.api import EventKind, hookimpl

@hookimpl
def xnatctl_on_event(event):
    if event.kind is EventKind.ITEM_DONE:
        signal.raise_signal(signal.SIGINT)
"""


@pytest.fixture
def site(tmp_path):
    """The example, installed as pip lays it out, in the folder of `install`."""
    target = tmp_path / "site"
    shutil.copytree(EXAMPLE / "xnatctl_usercache", target / "xnatctl_usercache")
    info = target / "xnatctl_usercache-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xnatctl-usercache\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[xnatctl]\nusercache = xnatctl_usercache.plugin\n")
    return {"PYTHONPATH": str(target)}


@pytest.fixture
def env(alice, site):
    return {**alice, **site}


def imports(sandbox):
    return [request for request in sandbox.requests if request["path"].endswith("services/import")]


def staged(sandbox):
    """What waits in the caches of users."""
    return [path for path in (sandbox.directory / "cache").rglob("*") if path.is_file()]


def test_it_imports_the_public_api_alone():
    for path in EXAMPLE.rglob("*.py"):
        allowed = ("xnatctl.api", "xnatctl.testing") if "tests" in path.parts else ("xnatctl.api",)
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = [name for name in modules if name.split(".")[0] == "xnatctl"]
            assert all(name.startswith(allowed) for name in foreign), path


@pytest.mark.parametrize("version", ["1.8.11", "1.8.1"])
def test_it_delivers_a_session_and_leaves_nothing_in_the_cache(xnatctl, sandbox, env, exam, assert_exactly, version):
    sandbox.state.version = version
    dry = xnatctl("session", "upload", exam.directory, *UPLOAD, "--dry-run", "-v", env=env).out
    assert "staged in: the cache of the user" in dry
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert done.document["verification"]["level"] == "size"
    assert all("src=" in request["query"] for request in imports(sandbox))
    assert not staged(sandbox)
    again = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert (again.code, again.document["counts"]["sent"]) == (0, 0)
    other = xnatctl("session", "upload", exam.directory, *UPLOAD[:-1], "tar", "-o", "json", env=env)
    assert (other.code, other.document["counts"]["sent"]) == (0, 0), "the session is the address, by whatever transport"


def test_it_leaves_a_session_in_the_prearchive(xnatctl, sandbox, env, exam, assert_exactly):
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--prearchive", env=env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="prearchive", label="e")


def test_a_run_that_was_interrupted_is_finished_by_the_next(xnatctl, sandbox, env, install, exam, assert_exactly):
    broken = xnatctl(
        "session", "upload", exam.directory, *UPLOAD, "-o", "json", env={**env, **install("watcher", WATCHER)}
    )
    assert broken.code == 130, broken.err
    sent = broken.document["counts"]["sent"]
    assert 0 < sent < len(exam.digests)
    resumed = xnatctl("upload", "resume", "e", "-o", "json", env={**env, "XNATCTL_BLOCK_PLUGINS": "watcher"})
    assert resumed.code == 0, resumed.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert resumed.document["counts"]["skipped"] >= sent


FAULTS = {
    "the import, its answer lost": {"match": {"path": "services/import"}, "action": "store-then-cut"},
    "the import, before it began": {"match": {"path": "services/import"}, "action": "cut-before-body"},
    "the staging, its answer lost": {"match": {"path": "user/cache", "method": "PUT"}, "action": "store-then-cut"},
    "the staging, in the middle": {
        "match": {"path": "user/cache", "method": "PUT"},
        "action": "cut-at-byte",
        "bytes": 999,
    },
    "503": {"match": {"path": "services/import"}, "action": "status", "status": 503},
    "the staged file is gone": {"match": {"path": "services/import"}, "action": "status", "status": 404},
    "the session ended": {"match": {"path": "services/import"}, "action": "expire-session"},
    "the session ended, staging": {"match": {"path": "user/cache", "method": "PUT"}, "action": "expire-session"},
    "too large": {"match": {"path": "user/cache", "method": "PUT"}, "action": "status", "status": 413},
}


@pytest.mark.once
@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_once_is_tried_again(hasty, sandbox, env, exam, assert_exactly, fault):
    # A request is sent again after one new login, so its session must not end twice.
    nth = [2] if "session" in fault else [2, 4]
    sandbox.faults.load([{**FAULTS[fault], "nth": nth}])
    done = hasty("session", "upload", exam.directory, *UPLOAD, "--workers", "3", "-o", "json", env=env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert not staged(sandbox)


SOME = list(range(2, 500))
LASTING = {
    "nobody answers": ({"action": "cut-before-body"}, "every", 4),
    "nobody answers later": ({"action": "cut-before-body"}, SOME, 5),
    "it refuses the user": ({"action": "status", "status": 403}, "every", 3),
    "it keeps failing": ({"action": "status", "status": 500}, "every", 4),
    "it stores nothing": ({"action": "status", "status": 200, "page": "plain"}, "every", 6),
    "it stores nothing later": ({"action": "status", "status": 200, "page": "plain"}, SOME, 6),
}


@pytest.mark.lab
@pytest.mark.parametrize("fault", LASTING)
def test_what_stays_wrong_ends_with_the_documented_code_and_can_be_finished(
    hasty, sandbox, env, exam, assert_exactly, fault
):
    rule, nth, code = LASTING[fault]
    sandbox.faults.load([{"match": {"path": "services/import"}, "nth": nth, **rule}])
    failed = hasty("session", "upload", exam.directory, *UPLOAD, "--retry-for", "0", "-o", "json", env=env)
    assert failed.code == code, failed.err
    sandbox.faults.end()
    done = hasty("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.lab
def test_its_own_tests_pass(site):
    """As its author runs them after `pip install`: the contract, with uploads to the sandbox."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=EXAMPLE, env={**os.environ, **site}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
