"""The kit as a plugin of pytest: its fixtures are real parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the testing extra is not installed")

TESTS = """
import pathlib
import urllib.request

def test_sandbox(sandbox):
    assert sandbox.instances() == []
    assert urllib.request.urlopen(f"{sandbox.url}/app/template/Login.vm").status == 200

def test_exams(exams):
    assert len(exams(series=2, instances=3).instances) == 6
    assert exams().study_instance_uid != exams().study_instance_uid

def test_receiver(receiver, exams):
    import pydicom
    from pynetdicom import AE
    exam = exams(series=1, instances=2, clutter=False)
    sets = [pydicom.dcmread(instance.path) for instance in exam.instances.values()]
    entity = AE()
    entity.add_requested_context(sets[0].SOPClassUID, sets[0].file_meta.TransferSyntaxUID)
    association = entity.associate(receiver.host, receiver.port, ae_title=receiver.ae_title)
    assert [association.send_c_store(data).Status for data in sets] == [0, 0]
    association.release()
    assert set(receiver.received) == set(exam.instances)

def test_plugin_manager(plugin_manager):
    import page
    registry = plugin_manager(page)
    assert registry.transport("mine").plugin.name == "page"
    assert "tar" in registry.transports()
"""
PAGE = """
from xnatctl.api import TransportSpec, hookimpl

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="mine", summary="mine", target="page:nothing")]
"""


def test_the_fixtures_work(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "page.py").write_text(PAGE)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["xnatctl.testing"]\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
