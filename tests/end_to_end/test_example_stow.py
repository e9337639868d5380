"""A distribution of somebody else delivers to DICOMweb servers by the public API alone: to Orthanc, and through faults."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import signal
import ssl
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from ports import await_port, free_port
from programs import system_program

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "xnatctl-stow"
SUPPORT = Path(__file__).parents[1] / "support"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def load(name):
    spec = importlib.util.spec_from_file_location(f"stow_{name}", EXAMPLE / "tests" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def program(name, *files):
    path = system_program(name)
    if path is None or not all(file.exists() for file in files):
        message = f"{name} is not complete: apt-get install orthanc orthanc-dicomweb openssl"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where pip put the example."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, EXAMPLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(target)}


@pytest.fixture
def server():
    with load("dicomweb_server").DicomWebServer() as made:
        yield made


@pytest.fixture
def upload(hasty, site):
    """Upload by `stow` in a process of its own, with short waits; a JSON report."""

    def run(path, url, *more, env=None):
        return hasty(
            *("session", "upload", path, "--mode", "stow", "--stow-url", url, "-o", "json", *more),
            env={**site, **(env or {})},
        )

    return run


def held(server):
    return {uid: hashlib.sha256(content).hexdigest() for uid, content in server.stored.items()}


def outcomes(done):
    return {item["sop_instance_uid"]: item["outcome"] for item in done.document["items"]}


class Orthanc:
    """Orthanc with its DICOMweb plugin."""

    def __init__(self, directory, port, process):
        self.directory, self.port, self.process = directory, port, process
        self.url = f"http://127.0.0.1:{port}/dicom-web"

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def instances(self):
        """Orthanc's own ID by SOP Instance UID."""
        return {row["MainDicomTags"]["SOPInstanceUID"]: row["ID"] for row in json.loads(self.ask("/instances?expand"))}

    def digests(self):
        """SHA-256 of each file as Orthanc gives it back."""
        rows = self.instances()
        return {uid: hashlib.sha256(self.ask(f"/instances/{number}/file")).hexdigest() for uid, number in rows.items()}


@pytest.fixture
def orthanc(tmp_path):
    """Start Orthanc; `more` are lines of its configuration."""
    started = []

    def start(**more):
        path, port = program("Orthanc", PLUGIN), free_port()
        directory = tmp_path / f"orthanc-{port}"
        directory.mkdir()
        configuration = {
            "StorageDirectory": str(directory),
            "IndexDirectory": str(directory),
            "DicomServerEnabled": False,
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **more,
        }
        (directory / "configuration.json").write_text(json.dumps(configuration))
        process = subprocess.Popen(
            [path, str(directory / "configuration.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(Orthanc(directory, port, process))
        await_port(process, port)
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
    for one in started:
        one.process.wait(timeout=60)


def test_it_imports_the_public_api_alone():
    for path in EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = ("xnatctl.api", "xnatctl.testing") if "tests" in path.parts else ("xnatctl.api",)
            foreign = [name for name in modules if name.split(".")[0] == "xnatctl"]
            assert all(name.startswith(allowed) for name in foreign), path


@pytest.mark.lab
def test_its_own_tests_pass(site):
    """On the contracts of `xnatctl.testing`, as its author runs them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", EXAMPLE, EXAMPLE]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# Orthanc


def test_everything_arrives_at_orthanc_and_a_rerun_sends_what_is_missing(orthanc, upload, exam):
    there = orthanc()
    done = upload(exam.directory, there.url)
    assert done.code == 0, done.err
    assert there.digests() == exam.digests
    assert done.document["destination"]["server"] == there.url
    assert done.document["counts"]["verified"] == done.document["counts"]["sent"] == len(exam.digests)
    assert done.document["verification"]["level"] == "uid"
    again = upload(exam.directory, there.url)
    assert (again.code, again.document["counts"]["sent"]) == (0, 0), again.err
    lost = min(exam.digests)
    there.ask(f"/instances/{there.instances()[lost]}", "DELETE")
    looked = upload(exam.directory, there.url, "--stow-wait", "0.5")
    assert looked.code == 6, looked.err
    assert [d["sop_instance_uid"] for d in looked.document["verification"]["differences"]] == [lost]
    assert outcomes(looked)[lost] == "missing"
    repaired = upload(exam.directory, there.url)
    assert (repaired.code, repaired.document["counts"]["sent"]) == (0, 1), repaired.err
    assert there.digests() == exam.digests


def test_a_file_that_orthanc_does_not_take_is_named_and_the_rest_arrives(orthanc, upload, own_exam):
    """Orthanc answers 400, names what it stored, and says nothing of the file that it cannot read."""
    bad = own_exam.instances[min(own_exam.instances)]
    content = bad.path.read_bytes()
    assert content.count(b"1.2.840.10008.1.2.1\0") == 1
    bad.path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))  # not what its pixels are
    there = orthanc()
    done = upload(own_exam.directory, there.url)
    expected = {uid: digest for uid, digest in own_exam.digests.items() if uid != bad.sop_instance_uid}
    assert done.code == 5, done.err
    assert there.digests() == expected
    assert {path for path, outcome in outcomes(done).items() if outcome != "accepted"} == {bad.sop_instance_uid}
    assert bad.path.name in done.err


def test_what_orthanc_says_it_stored_and_did_not_is_found(orthanc, upload, exam, tmp_path):
    """Its answer names instances as stored that a filter of the site drops, so only the check can tell."""
    script = tmp_path / "filter.lua"
    script.write_text("function ReceivedInstanceFilter(dicom, origin, info) return dicom.InstanceNumber ~= '3' end")
    there = orthanc(LuaScripts=[str(script)])
    done = upload(exam.directory, there.url, "--stow-wait", "0.5")
    assert done.code == 6, done.err
    lost = set(exam.digests) - set(there.instances())
    assert len(lost) == 3
    assert {uid for uid, outcome in outcomes(done).items() if outcome != "verified"} == lost
    assert done.document["counts"]["verified"] == len(exam.digests) - 3


@pytest.mark.lab
def test_a_login_by_password(orthanc, upload, exam, home, tmp_path):
    there = orthanc(AuthenticationEnabled=True, RegisteredUsers={"alice": "opensesame"})
    wrong = upload(exam.directory, there.url, env={"STOW_USER": "alice", "STOW_PASSWORD": "wrongsesame"})
    assert wrong.code == 3, wrong.err
    assert "STOW_PASSWORD" in wrong.err
    log = tmp_path / "log"
    env = {"STOW_USER": "alice", "STOW_PASSWORD": "opensesame"}
    done = upload(exam.directory, there.url, "-vv", "--log-file", log, env=env)
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == len(exam.digests)
    written = [path.read_bytes() for path in (*home.rglob("*"), log) if path.is_file()]
    for text in (wrong.out, wrong.err, done.out, done.err):
        written.append(text.encode())
    for secret in (b"opensesame", b"wrongsesame", b"YWxpY2U6b3BlbnNlc2FtZQ"):
        assert not any(secret in text for text in written)


@pytest.mark.lab
def test_a_wrong_url_is_said_and_nothing_is_sent(orthanc, upload, exam):
    there = orthanc()
    for path in ("/nothing", "/dicom-web/studies"):
        done = upload(exam.directory, f"http://127.0.0.1:{there.port}{path}")
        assert done.code in (2, 5), done.err
        assert "--stow-url" in done.err
        assert "base URL" in done.err
    gone = upload(exam.directory, f"http://127.0.0.1:{free_port()}/dicom-web", "--retry-for", "1")
    assert gone.code == 4, gone.err
    assert "Cannot connect" in gone.err
    assert there.instances() == {}


# faults


@pytest.mark.lab
def test_two_services_are_two_uploads(upload, server, exam):
    with load("dicomweb_server").DicomWebServer() as other:
        for there in (server, other):
            done = upload(exam.directory, there.url)
            assert (done.code, done.document["counts"]["sent"]) == (0, len(exam.digests)), done.err
            assert held(there) == exam.digests
        for there in (server, other):
            assert upload(exam.directory, there.url).document["counts"]["sent"] == 0


@pytest.mark.parametrize(
    "faults",
    [
        [("lose",), ("lose",)],
        [("drop",), ("", ), ("drop",)],
        [(503, {"Retry-After": "1"}), ("",), (503,)],
        [(500,), (502,), (504,)],
        [("",), (409,)],
    ],
    ids=["answer-lost", "cut", "busy", "server-error", "conflict"],
)  # fmt: skip
def test_what_failed_is_sent_again_and_is_there(upload, server, exam, faults):
    server.faults = list(faults)
    done = upload(exam.directory, server.url)
    assert done.code == 0, done.err
    assert held(server) == exam.digests
    assert server.faults == []


@pytest.mark.lab
def test_a_duplicate_after_a_lost_answer_is_ours_and_another_is_not(upload, server, exam):
    server.faults, server.duplicates = [("",), ("lose",)], True
    done = upload(exam.directory, server.url)
    assert done.code == 0, done.err
    assert held(server) == exam.digests
    foreign = upload(exam.directory, server.url, "--no-resume")
    assert foreign.code == 6, foreign.err
    assert "already has" in foreign.err
    assert "--verify" not in foreign.err


@pytest.mark.lab
def test_requests_that_are_too_large_are_split(upload, server, exam):
    server.largest = 20_000
    done = upload(exam.directory, server.url, "--workers", "1")
    assert done.code == 0, done.err
    assert held(server) == exam.digests
    assert max(map(len, server.requests)) < 10


def test_an_instance_that_is_refused_is_named_with_the_reason(upload, server, exam):
    refused, *others = sorted(exam.digests)
    server.refused = {refused: 0x0122}
    done = upload(exam.directory, server.url)
    assert done.code == 5, done.err
    assert held(server) == {uid: exam.digests[uid] for uid in others}
    (item,) = [entry for entry in done.document["items"] if entry["outcome"] != "accepted"]
    assert (item["sop_instance_uid"], item["outcome"]) == (refused, "rejected")
    assert item["reason"] == "the server answered 0x0122 (SOP class not supported)"
    server.refused = {}
    again = upload(exam.directory, server.url)
    assert (again.code, again.document["counts"]["sent"]) == (0, 1), again.err
    assert held(server) == exam.digests


@pytest.mark.lab
def test_an_instance_that_is_never_mentioned_stays_ambiguous(upload, server, exam):
    silent = min(exam.digests)
    server.unmentioned = {silent}
    done = upload(exam.directory, server.url, "--retry-for", "1")
    assert done.code == 5, done.err
    assert outcomes(done)[silent] == "ambiguous"
    assert sum(outcome == "accepted" for outcome in outcomes(done).values()) == len(exam.digests) - 1


@pytest.mark.lab
def test_a_silent_server_leaves_every_instance_ambiguous(upload, server, exam):
    server.faults = [("hang",)] * 20
    done = upload(exam.directory, server.url, "--stow-timeout", "3", "--retry-for", "0", "--workers", "1")
    assert done.code == 4, done.err
    assert "Check whether the receiver answers." in done.err
    assert "--echo" not in done.err
    tried = {item["outcome"] for item in done.document["items"] if item["attempts"]}
    assert tried == {"ambiguous"}
    assert "accepted" not in outcomes(done).values()
    server.faults = []
    server.let_go.set()
    again = upload(exam.directory, server.url)
    assert again.code == 0, again.err
    assert held(server) == exam.digests


def test_a_login_that_ends_stops_the_upload_and_the_token_is_nowhere(upload, xnatctl, server, exam, home, site):
    token = "s3cr3t-t0k3n"
    server.authorization, server.faults = f"Bearer {token}", [("",), (401,)]
    done = upload(exam.directory, server.url, "--workers", "1", env={"STOW_TOKEN": token})
    assert done.code == 5, done.err
    assert "HTTP 401" in done.err
    assert "auth login" not in done.err
    assert len(server.stored) == 1
    again = upload(exam.directory, server.url, env={"STOW_TOKEN": token})
    assert (again.code, again.document["counts"]["skipped"]) == (0, 1), again.err
    refused = upload(exam.directory, server.url, "--stow-token", f"not-{token}")
    assert refused.code == 6, refused.err
    assert "STOW_TOKEN" in refused.err
    (row,) = xnatctl("upload", "status", "-o", "json", env=site).document["uploads"]
    resumed = xnatctl("upload", "resume", row["id"], env={**site, "STOW_TOKEN": token})
    assert resumed.code == 0, resumed.err
    texts = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    texts += [text.encode() for run in (done, again, refused, resumed) for text in (run.out, run.err)]
    assert not any(token.encode() in text for text in texts)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_after_an_end_in_the_middle_a_rerun_sends_what_is_missing(
    nursery, environment, upload, server, large_exam, site, number, tmp_path
):
    server.faults = [("",), ("",), ("hang",)]
    child = nursery.start(
        *("-m", "xnatctl", "session", "upload", str(large_exam.directory), "--mode", "stow"),
        *("--stow-url", server.url, "--workers", "1"),
        env={**environment, **site},
        cwd=tmp_path,
    )
    assert server.hanging.wait(60)
    arrived = set(server.stored)
    assert 0 < len(arrived) < len(large_exam.digests)
    child.send_signal(number)
    assert child.wait() == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[number]
    if number != signal.SIGKILL:  # the server is still silent
        assert f"--stow-url {server.url}" in child.err.decode()
    server.let_go.set()
    before = len(server.requests)
    done = upload(large_exam.directory, server.url)
    assert done.code == 0, done.err
    assert held(server) == large_exam.digests
    assert done.document["counts"]["verified"] == len(large_exam.digests)
    sent = [uid for request in server.requests[before:] for uid in request]
    assert not arrived & set(sent)
    assert len(sent) == len(large_exam.digests) - len(arrived)


@pytest.mark.lab
def test_the_check_waits_for_a_list_that_comes_in_pages_and_names_what_it_lacks(upload, server, exam):
    server.page = 7
    server.unlisted = {min(exam.digests)}
    done = upload(exam.directory, server.url, "--stow-wait", "0.5")
    assert done.code == 6, done.err
    assert done.document["counts"]["verified"] == len(exam.digests) - 1
    assert [d["sop_instance_uid"] for d in done.document["verification"]["differences"]] == [min(exam.digests)]
    server.unlisted = set()
    again = upload(exam.directory, server.url)
    assert (again.code, again.document["counts"]["sent"]) == (0, 1), again.err


@pytest.mark.lab
def test_a_service_without_qidors(upload, server, exam):
    server.lists = False
    done = upload(exam.directory, server.url)
    assert done.code == 6, done.err
    assert "--no-stow-check" in done.err
    unchecked = upload(exam.directory, server.url, "--no-stow-check")
    assert unchecked.code == 0, unchecked.err
    assert unchecked.document["counts"]["verified"] == 0
    assert held(server) == exam.digests


@pytest.mark.lab
def test_certificates_are_checked(upload, server, own_exam, tmp_path):
    openssl = program("openssl")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.encrypt(lambda sock: context.wrap_socket(sock, server_side=True))
    url = f"https://{server.place}/dicom-web"
    refused = upload(own_exam.directory, url)
    assert refused.code == 4, refused.err
    assert "SSL_CERT_FILE" in refused.err
    done = upload(own_exam.directory, url, env={"SSL_CERT_FILE": str(tmp_path / "cert.pem")})
    assert done.code == 0, done.err
    assert held(server) == own_exam.digests


@pytest.mark.lab
def test_a_large_instance_is_never_whole_in_memory(server, environment, site, tmp_path):
    size = 300 * 2**20
    exam = write_exam(tmp_path / "exam", series=1, instances=1, rows=8, columns=8, clutter=False)
    (instance,) = exam.instances.values()
    with instance.path.open("r+b") as file:
        file.seek(-(2 * 8 * 8 + 12), os.SEEK_END)
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, size - file.tell() - 12))
        file.truncate(size)  # sparse
    peak = tmp_path / "peak"
    done = subprocess.run(
        [
            *(sys.executable, SUPPORT / "weighed.py", peak, "session", "upload", exam.directory),
            *("--mode", "stow", "--stow-url", server.url),
        ],
        env={**environment, **site}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(server.stored[instance.sop_instance_uid]) == size
    assert int(peak.read_text()) < 120 * 1024
