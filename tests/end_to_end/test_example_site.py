"""A plugin of a site adds a stage of its own and a transport to another destination, by the public API alone."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-site"
UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")


@pytest.fixture
def installed(tmp_path):
    """The example, installed as pip lays it out, in a folder of its own."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "xnatctl_site", site / "xnatctl_site")
    info = site / "xnatctl_site-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xnatctl-site\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[xnatctl]\nsite = xnatctl_site.plugin\n")
    (tmp_path / "receipts").mkdir()
    (tmp_path / "inbox").mkdir()
    return {"PYTHONPATH": str(site)}


def test_it_imports_the_public_api_alone():
    for path in EXAMPLE.rglob("*.py"):
        imported = set(re.findall(r"^\s*from (xnatctl[\w.]*) import", path.read_text(), re.MULTILINE))
        assert imported <= {"xnatctl.api", "xnatctl.api.commands", "xnatctl.api.xnat"}, path


def test_its_stage_runs_after_the_delivery(xnatctl, sandbox, alice, exam, installed, tmp_path):
    env = {**alice, **installed, "SITE_RECEIPTS": str(tmp_path / "receipts")}
    planned = xnatctl("session", "upload", exam.directory, *UPLOAD, "--dry-run", env=env).document
    assert [stage["kind"] for stage in planned["stages"]] == ["session", "keep-receipt"]
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env=env)
    assert done.code == 0, done.err
    receipt = json.loads((tmp_path / "receipts" / "DEMO_e.json").read_text())
    assert receipt["uri"] == done.document["destination"]["uri"]
    assert receipt["instances"] == sorted(exam.instances)
    assert receipt["level"] == done.document["verification"]["level"] == "size"


def test_its_stage_is_checked_before_the_first_byte(xnatctl, sandbox, alice, exam, installed, tmp_path):
    env = {**alice, **installed, "SITE_RECEIPTS": str(tmp_path / "missing")}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env=env)
    assert done.code == 2
    assert "unset SITE_RECEIPTS" in done.err
    assert not sandbox.instances()


def test_its_transport_delivers_to_another_destination(xnatctl, exam, installed, tmp_path):
    command = ("session", "upload", exam.directory, *UPLOAD, "--mode", "inbox", "--inbox", tmp_path / "inbox")
    done = xnatctl(*command, env=installed)
    assert done.code == 0, done.err
    assert done.document["destination"]["server"] == f"inbox:{tmp_path / 'inbox'}"
    arrived = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "inbox").iterdir()}
    assert arrived == set(exam.digests.values())
    assert xnatctl(*command, env=installed).document["counts"]["sent"] == 0
