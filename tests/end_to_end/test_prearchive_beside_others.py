"""`prearchive archive` while others act on the same row: "archived" is said of what the archive holds."""

from __future__ import annotations

import time

import pytest
from children import HANGS

from xnatctl_sandbox.archive.checks import Policy

pytestmark = pytest.mark.once
ARCHIVE = {"method": "POST", "path": "/services/archive"}


@pytest.fixture
def waiting(xnatctl, alice, sandbox, exam):
    """A session `e` of subject `s` in the prearchive; the words that name it."""
    names = ("-P", "DEMO", "-S", "s", "-E", "e")
    assert xnatctl("session", "upload", exam.directory / "series 1", *names, "--prearchive", env=alice).code == 0
    (row,) = sandbox.state.prearchive
    return "DEMO", row.timestamp, "e"


@pytest.fixture
def meanwhile(nursery, environment, alice, sandbox, waiting):
    """Runs `prearchive archive`, held up at its one call, acts, and lets it go on; exit code, stdout and stderr."""

    def run(action, *more, triple=waiting):
        fault = {"match": ARCHIVE, "nth": 1, "action": "delay", "seconds": HANGS}
        sandbox.faults.load([fault])
        (rule,) = sandbox.faults._rules
        words = ("-m", "xnatctl", "prearchive", "archive", *triple, *more)
        running = nursery.start(*words, env={**environment, **alice})
        while not rule["_done"]:
            time.sleep(0.005)
            assert running.poll() is None, running.err
        (row,) = sandbox.state.prearchive
        action(row)
        sandbox.faults.end()
        out, err = running.communicate()
        assert b"Traceback" not in err
        return running.wait(), out.decode(), err.decode()

    return run


@pytest.fixture
def archive(sandbox):
    """Archives a row on the server, as another person would."""

    def act(row, **names):
        if row.built is None:
            sandbox.prearchive.build(row)
        policy = Policy(merge=True, override=True, overwrite_files=False)
        sandbox.archiver.archive(row, policy, login="alice", **names)

    return act


def test_the_row_is_deleted(meanwhile, sandbox):
    code, out, err = meanwhile(sandbox.prearchive.delete)
    assert (code, out) == (6, ""), err
    assert "no session e" in err
    assert not sandbox.state.experiments


def test_the_row_is_archived_under_another_label(meanwhile, archive):
    code, out, err = meanwhile(lambda row: archive(row, label="renamed"))
    assert (code, out) == (6, ""), err
    assert "session renamed" in err
    assert "xnatctl session show XNAT_E00001" in err


def test_the_row_is_archived_under_another_subject(meanwhile, archive):
    code, out, err = meanwhile(lambda row: archive(row, subject="other"))
    assert (code, out) == (6, ""), err
    assert "belongs to subject other, not to s" in err


def test_the_row_is_archived_as_asked_by_somebody_else(meanwhile, archive):
    code, out, err = meanwhile(archive)
    assert code == 0, err
    assert "archived" in out
    assert "holds all 20 files" in out


def test_the_row_is_deleted_beside_a_session_of_the_same_study(xnatctl, alice, sandbox, exam, meanwhile, archive):
    """The session that has the label is an older one: it held the files before, or holds none of them."""
    (row,) = sandbox.state.prearchive
    archive(row)
    names = ("-P", "DEMO", "-S", "s", "-E", "e")
    for series, said in (("series 1", "the result is unknown"), ("series 2", "holds 0 of its 20 files")):
        done = xnatctl("session", "upload", exam.directory / series, *names, "--prearchive", "--no-resume", env=alice)
        assert done.code == 0, done.err
        (row,) = sandbox.state.prearchive
        waiting = ("DEMO", row.timestamp, row.folder)
        code, out, err = meanwhile(sandbox.prearchive.delete, "--overwrite", "delete", triple=waiting)
        assert (code, out) == (6, ""), err
        assert said in err


def test_a_reviewer_drops_a_scan_while_it_is_archived(xnatctl, alice, sandbox, exam, meanwhile):
    """What waited when the command began is what counts."""
    names = ("-P", "DEMO", "-S", "s", "-E", "e")
    assert xnatctl("session", "upload", exam.directory, *names, "--prearchive", env=alice).code == 0
    code, out, err = meanwhile(lambda row: sandbox.prearchive.delete_scan(row, "1"))
    assert (code, out) == (6, ""), err
    assert "holds 40 of its 60 files" in err


@pytest.mark.parametrize("flag", ["--label", "--subject"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_name_is_refused(xnatctl, alice, sandbox, waiting, flag, value):
    done = xnatctl("prearchive", "archive", *waiting, flag, value, env=alice)
    assert done.code == 2, done.err
    assert flag in done.err
    assert sandbox.state.prearchive
