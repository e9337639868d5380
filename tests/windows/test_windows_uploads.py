"""Uploads from Windows: each mode, a receiver, an exam root, a plugin from outside, and a run that was killed."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from systems import assert_private

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows: `tox -e windows` runs it under Wine")

NAMES = ("-P", "DEMO", "-S", "subj01", "-E", "sess01")


def stored(sandbox) -> dict[str, str]:
    """SHA-256 of each stored instance by UID; each is there once."""
    found = {entry["sop_instance_uid"]: entry["sha256"] for entry in sandbox.instances()}
    assert len(found) == len(sandbox.instances())
    return found


@pytest.mark.parametrize("more", [(), ("--prearchive",)], ids=["archive", "prearchive"])
@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_each_mode(xnatctl, sandbox, exam, mode, more):
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--mode", mode, *more, "-o", "json")
    assert done.code == 0, done.err
    assert done.document["status"] == "complete"
    assert stored(sandbox) == exam.digests


def test_several_paths(xnatctl, sandbox, exam):
    """A folder whose path has "/", an archive file, and a folder named from the current one."""
    packed = shutil.make_archive(str(exam.directory.parent / "packed"), "zip", exam.directory / "series 2")
    extra = exam.directory / "series 1" / "extra"
    extra.mkdir()
    for path in [path for path in extra.parent.iterdir() if path.is_file()][:3]:
        path.rename(extra / path.name)
    extra = extra.rename(exam.directory.parent / "a third")
    first = str(exam.directory / "series 1").replace("\\", "/")
    done = xnatctl("session", "upload", first, packed, "a third", *NAMES, "-o", "json", cwd=extra.parent)
    assert done.code == 0, done.err
    assert stored(sandbox) == exam.digests
    assert all("/" not in source for source in done.document["sources"])


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_receipt_and_its_verification(xnatctl, sandbox, exam, tmp_path, form):
    receipt = tmp_path / f"my receipt.{form}"
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--receipt", receipt)
    assert done.code == 0, done.err
    assert f"Receipt: {receipt}" in done.out.decode()
    assert_private(receipt)
    checked = xnatctl("receipt", "verify", receipt, exam.directory, "-o", "json")
    assert checked.code == 0, checked.err
    assert checked.document["disk"]["equal"] == checked.document["server"]["found"] == len(exam.digests)
    changed = next(iter(exam.instances.values())).path
    changed.write_bytes(changed.read_bytes() + b"\0\0")
    checked = xnatctl("receipt", "verify", receipt, exam.directory, "--no-server", "-o", "json")
    assert checked.code == 6
    assert [(one["where"], "/" in one["path"]) for one in checked.document["problems"]] == [("disk", True)]
    receipt.write_bytes(receipt.read_bytes().replace(b"\n", b"\r\n"))
    assert xnatctl("receipt", "verify", receipt, "--no-server").code == 6


def test_the_document_on_standard_output_is_utf_8_without_carriage_returns(xnatctl, sandbox, exam):
    exam.directory.joinpath("Übersicht 日本.txt").write_bytes(b"no image")
    done = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json")
    assert done.code == 0, done.err
    assert b"\r" not in done.out
    assert "Übersicht 日本.txt" in str(done.document)
    assert "series 1\\\\" not in str(done.document)  # paths have "/" on every system


def test_a_receiver(xnatctl, sandbox, exam):
    pytest.importorskip("pynetdicom")
    address = ("--host", "127.0.0.1", "--port", sandbox.dicom_port, "--called-aet", "XNAT")
    done = xnatctl("session", "upload-dicom", exam.directory, *address, "-o", "json")
    assert done.code == 0, done.err
    assert set(stored(sandbox)) == set(exam.digests)


def test_a_resource_of_packed_files_and_an_image(xnatctl, sandbox, exam, tmp_path):
    assert xnatctl("session", "upload", exam.directory, *NAMES).code == 0
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(b"a\r\nb\n")
    shutil.make_archive(str(folder / "notes"), "zip", folder, "notes.txt")
    shutil.copy(next(iter(exam.instances.values())).path, folder / "image.dcm")
    done = xnatctl("resource", "upload", "sess01", "RAW", folder, "-P", "DEMO", "-o", "json")
    assert done.code == 0, done.err
    assert done.document["counts"]["sent"] == 3


def test_an_exam_root_with_resources(xnatctl, sandbox, tmp_path, exam):
    root = tmp_path / "root"
    root.mkdir()
    exam.directory.rename(root / "DICOM")
    physio = root / "PHYSIO" / "sub folder"
    physio.mkdir(parents=True)
    content = b"1,2\r\n3,4\n\x1a\x00\xff"
    (physio / "näme.csv").write_bytes(content)
    done = xnatctl("session", "upload-exam", root, *NAMES, "-o", "json")
    assert done.code == 0, done.err
    assert set(stored(sandbox)) == set(exam.digests)
    files = [path for path in Path(sandbox.directory).rglob("*.csv") if path.is_file()]
    assert [path.read_bytes() for path in files] == [content]


def test_a_plugin_from_outside(xnatctl, tmp_path, exam):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "lines.py").write_text(
        "requires_api = 1\n"
        "from xnatctl.api import FormatterSpec, hookimpl\n"
        "@hookimpl\n"
        "def xnatctl_formatters():\n"
        "    return [FormatterSpec(name='lines', summary='one line', target='lines:Lines')]\n"
        "class Lines:\n"
        "    def render(self, document, out):\n"
        "        out.write('from a plugin\\n')\n",
        encoding="utf-8",
    )
    done = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "lines", env={"XNATCTL_PLUGIN_DIR": str(folder)})
    assert done.code == 0, done.err
    assert done.out == b"from a plugin\n"


def test_resuming_after_a_kill(start, xnatctl, sandbox, exam):
    sandbox.faults.load([{"match": {"path": "/services/import"}, "nth": 5, "action": "delay", "seconds": 60}])
    arguments = ("session", "upload", exam.directory, *NAMES, "--mode", "gradual", "--workers", "1")
    process = start(*arguments)
    while len(sandbox.instances()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    process.wait()
    sandbox.faults.load([])
    done = xnatctl(*arguments, "-o", "json")
    assert done.code == 0, done.err
    assert stored(sandbox) == exam.digests
    assert done.document["counts"]["sent"] < 20


#: Runs the command, and sends it a signal as Windows does: a thread of the C library notes it, and no wait ends.
_SIGNALLED = """
import _thread, os, sys, threading, time
number, told, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
def signal_when_told():
    while not os.path.exists(told):
        time.sleep(0.05)
    _thread.interrupt_main(number)
threading.Thread(target=signal_when_told, daemon=True).start()
from xnatctl.cli.main import main
main(arguments)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGBREAK"])
def test_ctrl_c_and_ctrl_break_stop_the_run(program, xnatctl, sandbox, exam, tmp_path, name):
    """It can be resumed."""
    sandbox.faults.load([{"match": {"path": "/services/import"}, "nth": 5, "action": "delay", "seconds": 600}])
    arguments = ("session", "upload", exam.directory, *NAMES, "--mode", "gradual", "--workers", "1")
    number = getattr(signal, name, signal.SIGINT)
    process = program("-c", _SIGNALLED, str(int(number)), tmp_path / "told", *arguments)
    while len(sandbox.instances()) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    (tmp_path / "told").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"xnatctl" in err
    sandbox.faults.load([])
    done = xnatctl(*arguments, "-o", "json")
    assert done.code == 0, done.err
    assert stored(sandbox) == exam.digests
