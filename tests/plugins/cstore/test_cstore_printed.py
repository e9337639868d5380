"""Every command that `session upload-dicom` prints to be run next helps: it is run here exactly as it is printed."""

from __future__ import annotations

import re
import ssl

import pytest
from ports import free_port

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl.operating_system.command_line import split_command
from xnatctl_cstore import other_service
from xnatctl_cstore import stream as stream_module
from xnatctl_sandbox.server import Sandbox

pytestmark = pytest.mark.once
COMMAND = ("session", "upload-dicom")
COMMENTS = "Project:DEMO Subject:subj01 Session:sess01"


@pytest.fixture
def told(xnatctl):
    """Run a line that was printed, by the person who read it."""

    def run(line, *more, env=None):
        program, *words = split_command(line)
        assert program == "xnatctl"
        return xnatctl(*words, *more, env=env)

    return run


@pytest.fixture
def exam(mixed, tmp_path):
    """Four instances in a folder whose name a shell would split: the folder, and what must arrive."""
    folder = tmp_path / "o u'rs"
    return folder, mixed.write(folder, 4, comments=COMMENTS, syntaxes=mixed.OF_XNAT[:2])


def hinted(done):
    """The one command in the hint of an error."""
    (line,) = re.findall(r"xnatctl .*$", done.document["error"]["hint"])
    return line


# receivers


@pytest.mark.parametrize("what", ["abort", "silent", 0xA900], ids=str)
def test_the_same_command_sends_what_a_receiver_did_not_take(hasty, told, scripted, dicom_env, exam, what):
    folder, expected = exam
    bad = sorted(expected)[1]
    receiver = scripted(answer=lambda talk, number, instance: what if instance == bad else 0)
    arguments = (*COMMAND, folder, "--answer-timeout", "1", "--workers", "1", "-o", "json")
    done = hasty(*arguments, env=dicom_env(receiver.port))
    assert done.code == 5, done.err
    line = hinted(done)
    assert done.document["next"] == ([line] if what != 0xA900 else [])
    receiver.answer = lambda talk, number, instance: 0
    again = told(line, env=dicom_env(receiver.port))
    assert again.code == 0, again.err
    assert receiver.digests == expected
    assert again.document["counts"]["sent"] == 1


def test_the_title_that_many_an_xnat_has(xnatctl, told, scripted, dicom_env):
    receiver = scripted(associate=lambda talk: None if talk.called == "XNAT" else (1, 1, 7))
    done = xnatctl(*COMMAND, "--echo", "-o", "json", env=dicom_env(receiver.port, "WRONG"))
    assert done.code == 4
    assert told(hinted(done)).code == 0


def test_the_other_port(xnatctl, told, scripted, dicom_env):
    """The port of the printed command is that of many an XNAT; the rest of it is tried at a receiver of ours."""
    receiver = scripted()
    done = xnatctl(*COMMAND, "--echo", "-o", "json", env=dicom_env(free_port(), "SOME AE"))
    assert done.code == 4
    line = hinted(done)
    assert " --port 8104 " in line
    assert told(line.replace("--port 8104", f"--port {receiver.port}")).code == 0
    assert receiver.talks[-1].called == "SOME AE"


def test_with_tls(xnatctl, told, scripted, dicom_env, certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates["server.pem"], certificates["server.key"])
    trusting = {"SSL_CERT_FILE": certificates["ca.pem"]}
    done = xnatctl(*COMMAND, "--echo", "-o", "json", env=dicom_env(scripted(tls=context).port))
    assert done.code == 4
    assert "expects TLS" in done.document["error"]["message"]
    assert told(hinted(done), env=trusting).code == 0


def test_without_tls(told, scripted, deliver, exam, monkeypatch):
    """A receiver that waits for more of what it takes for a PDU."""
    monkeypatch.setattr(stream_module, "CONNECT", 0.3)
    monkeypatch.setattr(other_service, "_PATIENCE", 0.1)
    done = deliver(exam[0], scripted().port, tls=True)
    assert done.error is not None
    assert done.error.message.endswith("failed: no answer within 0 s.")
    (line,) = re.findall(r"xnatctl .*$", done.error.hint or "")
    assert told(line).code == 0


# following a study into the archive


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path / "xnat", dicom_port=0) as server:
        yield server


@pytest.fixture
def alice(sandbox, dicom_env):
    return {**dicom_env(sandbox.dicom_port), "XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}


def archived_when_idle(sandbox):
    """The site's idle jobs run, as they would after five quiet minutes."""
    sandbox.advance_clock(301)
    sandbox.tick()


def test_what_was_not_archived_in_time(xnatctl, told, sandbox, alice, exam):
    late = xnatctl(*COMMAND, exam[0], "--verify", "-P", "DEMO", "--wait", "1", "-o", "json", env=alice)
    assert late.code == 6, late.err
    (line,) = late.document["next"]
    again = told(line, env=alice)
    assert again.code == 6, "it is still received"
    archived_when_idle(sandbox)
    before = len(sandbox.associations)
    done = told(line, env=alice)
    assert done.code == 0, done.err
    assert done.document["counts"]["verified"] == 4
    assert len(sandbox.associations) == before, "nothing was sent again"


def test_a_conflict_is_shown_with_its_reason(xnatctl, told, sandbox, alice, exam, tmp_path):
    """The archive has the same files already, so XNAT does not merge them by itself."""
    arguments = (*COMMAND, exam[0], "--verify", "-P", "DEMO", "--wait", "1", "-o", "json")
    elsewhere = {**alice, "XDG_STATE_HOME": str(tmp_path / "elsewhere")}
    assert xnatctl(*arguments, env=alice).code == 6
    archived_when_idle(sandbox)
    assert xnatctl(*arguments, env=elsewhere).code == 6
    archived_when_idle(sandbox)
    (row,) = sandbox.state.prearchive
    assert row.status == "CONFLICT"
    done = xnatctl(*arguments, env=elsewhere)
    assert done.code == 6, done.err
    shown = told(hinted(done), "-o", "json", env=alice)
    assert shown.code == 0, shown.err
    assert shown.document["status"] == "CONFLICT"


def test_what_waits_for_a_person(xnatctl, told, sandbox, alice, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 4, comments="Project:MANUAL Subject:s1 Session:e1", syntaxes=mixed.OF_XNAT[:2])
    arguments = (*COMMAND, tmp_path / "exam", "--verify", "-P", "MANUAL", "--wait", "1", "-o", "json")
    assert xnatctl(*arguments, env=alice).code == 6
    archived_when_idle(sandbox)
    done = xnatctl(*arguments, env=alice)
    assert done.code == 6
    archive, again = done.document["next"]
    assert archive == hinted(done)
    assert told(archive, env=alice).code == 0
    assert told(again, env=alice).code == 0


def test_a_study_that_somebody_deleted(xnatctl, told, sandbox, alice, exam):
    """It was seen in the prearchive and is gone: the same command says so, and with --no-resume it is sent again."""
    arguments = (*COMMAND, exam[0], "--verify", "-P", "DEMO", "--wait", "1", "-o", "json")
    assert xnatctl(*arguments, env=alice).code == 6
    (row,) = sandbox.state.prearchive
    sandbox.prearchive.delete(row)
    gone = xnatctl(*arguments, env=alice)
    assert gone.code == 6, gone.err
    (line,) = gone.document["next"]
    told(line, "--no-resume", env=alice)
    archived_when_idle(sandbox)
    done = told(line, env=alice)
    assert done.code == 0, done.err
