"""`sandbox start`, as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

pytest.importorskip("pynetdicom", reason="the sandbox extra is not installed")


@pytest.fixture
def start(environment, tmp_path):
    @contextmanager
    def run(*arguments, env=None):
        process = subprocess.Popen(
            [sys.executable, "-m", "xnatctl", "sandbox", "start", "--port", "0", *arguments],
            env={**environment, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            process.left = (out, err)
        assert process.returncode == 0, err

    return run


@contextmanager
def occupied():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def document(process):
    """The one JSON document; the server goes on after it."""
    text = ""
    while True:
        text += process.stdout.readline()
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            assert process.poll() is None, process.stderr.read()


def test_both_ports_are_told(start):
    from pynetdicom import AE

    with start("--dicom-port", "0", "-o", "json") as process:
        told = document(process)
        assert told["dicom"]["ae_titles"] == ["XNAT"]
        assert urllib.request.urlopen(f"{told['url']}/xapi/siteConfig/buildInfo").status == 200
        ae = AE()
        ae.add_requested_context("1.2.840.10008.1.1")
        assoc = ae.associate(told["dicom"]["host"], told["dicom"]["port"], ae_title="XNAT")
        assert assoc.send_c_echo().Status == 0
        assoc.release()


def test_what_each_user_may_do_is_told(start):
    with start("--dicom-port", "0", "-o", "json") as process:
        rights = {user["user"]: user["rights"] for user in document(process)["users"]}
    assert rights["admin"] == "everything"
    assert rights["alice"] == "owns DEMO, MANUAL"
    assert rights["bob"] == "may read DEMO"


@pytest.mark.parametrize("option", ["--port", "--dicom-port"])
def test_a_port_that_is_taken_is_named_in_one_line(xnatctl, option):
    with occupied() as port:
        done = xnatctl("sandbox", "start", "--port", "0", "--dicom-port", "0", option, str(port))
    assert done.code == 2
    assert done.err == (
        f"Error: Port {port} is used by another program. Choose another with {option}; 0 takes any free one.\n"
    )


def test_a_port_that_is_taken_leaves_no_folder(xnatctl, tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (old / "mine").touch()
    with occupied() as port:
        for folder in (new, old):
            assert xnatctl("sandbox", "start", "--port", str(port), "--dir", folder).code == 2
    assert not new.exists()
    assert (old / "mine").exists()


@pytest.mark.parametrize("command", [("start", "--port", "0", "--dicom-port", "0"), ("demo",)])
def test_a_directory_that_cannot_be_used_is_named(xnatctl, command):
    done = xnatctl("sandbox", *command, "--dir", "/proc/nowhere")
    assert done.code == 2
    assert "the directory /proc/nowhere" in done.err


def test_without_the_option_a_taken_port_is_no_trouble(start):
    """8104 is where an XNAT listens; whoever has it keeps it."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8104))
            taken.listen()
        except OSError:
            pass  # somebody has it already
        with start("-o", "json") as process:
            port = document(process)["dicom"]["port"]
            assert port not in (None, 8104)
        assert f"Port 8104 is in use; the DICOM Receiver listens on {port}." in process.left[1]


@pytest.fixture
def without_pynetdicom(tmp_path):
    site = tmp_path / "blocked"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.modules['pynetdicom'] = None\n")
    return {"PYTHONPATH": str(site)}


def test_without_pynetdicom_the_rest_runs(start, xnatctl, without_pynetdicom):
    with start("-o", "json", env=without_pynetdicom) as process:
        assert document(process)["dicom"] is None
    assert "pip install pynetdicom" in process.left[1]
    done = xnatctl("sandbox", "start", "--port", "0", "--dicom-port", "0", env=without_pynetdicom)
    assert done.code == 8
    assert "pynetdicom" in done.err
    assert "pip install pynetdicom" in done.err


def test_every_fault_and_every_switch_is_on_the_page():
    from dataclasses import fields
    from pathlib import Path

    from xnatctl_sandbox.faults import dicom_faults, http_faults
    from xnatctl_sandbox.world.switches import Switches

    page = (Path(__file__).parents[3] / "docs" / "how-to" / "use-the-sandbox.md").read_text()
    words = {*http_faults.ACTIONS, *dicom_faults.ACTIONS, *(field.name for field in fields(Switches))} - {"file_puts"}
    words |= {name for own in (*http_faults.ACTIONS.values(), *dicom_faults.ACTIONS.values()) for name in own}
    words |= http_faults.NAMES | dicom_faults.NAMES
    assert {word for word in words if f"`{word}`" not in page} == set()


@pytest.mark.once
def test_the_demo_compares_data_sets_and_pixel_data_on_the_servers_disk(xnatctl, tmp_path):
    done = xnatctl("sandbox", "demo", "--dir", str(tmp_path / "demo"))
    assert done.code == 0, done.err
    assert "The server's disk holds all 120 instances" in done.err
    assert "Warning" not in done.err
    assert "byte for byte" not in done.out + done.err
    assert "\\x0a" not in done.out + done.err
    assert "\n\n$ xnatctl scan list " in done.err
    lines = [line for line in (done.out + done.err).splitlines() if line]
    assert len(set(lines)) == len(lines), "nothing is said twice"


def test_what_the_demo_compares(tmp_path):
    from xnatctl.api import VerificationFailed
    from xnatctl.testing import write_exam
    from xnatctl_sandbox.demo import _compare
    from xnatctl_sandbox.server import Sandbox

    exam = write_exam(tmp_path / "exam", series=1, instances=3, clutter=False)
    uid, first = next(iter(exam.instances.items()))
    files = {uid: instance.path for uid, instance in exam.instances.items()}
    with Sandbox(tmp_path / "xnat") as sandbox:
        with pytest.raises(VerificationFailed, match="are not those"):
            _compare(sandbox, files)
        sandbox.others.store([i.path for i in exam.instances.values()], label="e", place="archive")
        _compare(sandbox, files)
        for change in (lambda: sandbox.others.cut(uid), lambda: sandbox.others.replace(uid, _other_pixels(first.path))):
            change()
            with pytest.raises(VerificationFailed, match="data set"):
                _compare(sandbox, files)


def _other_pixels(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    return bytes(data)
