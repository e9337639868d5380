"""A study that the project holds under another label is warned about, before anything is sent."""

from __future__ import annotations

import shlex

import pytest

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once
FIRST = ("-P", "DEMO", "-S", "ann", "-E", "ann_mr")
TYPO = ("-P", "DEMO", "-S", "ann", "-E", "ann_rm")
LISTING = {"match": {"path": "projects/DEMO/experiments$", "method": "GET"}, "nth": "every", "action": "status"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_exam(tmp_path_factory.mktemp("study") / "exam", series=1, instances=2, seed=77, clutter=False)


@pytest.fixture
def upload(xnatctl, elsewhere, small):
    """The upload by somebody on another machine, whose journals know nothing."""

    def run(*words, env=elsewhere, code=0):
        done = xnatctl("session", "upload", small.directory, *words, "-o", "json", env=env)
        assert done.code == code, done.err
        return done.document

    return run


def _twice(document):
    return [text for text in document["warnings"] if "already hold" in text]


def _searches(sandbox):
    return [r for r in sandbox.requests if "studyInstanceUID" in str(r["query"])]


@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_warned_before_the_first_byte_with_one_request(xnatctl, upload, alice, sandbox, mode):
    upload(*FIRST, env=alice)
    (study,) = {experiment.uid for experiment in sandbox.state.experiments.values()}
    before = len(sandbox.requests)
    (warning,) = _twice(upload(*TYPO, "--mode", mode))
    assert warning.startswith(
        f"Session ann_mr of subject ann in project DEMO already holds this study (Study Instance UID {study}). "
    )
    paths = [f"{r['path']} {r['query']}" for r in sandbox.requests[before:]]
    searches = [number for number, text in enumerate(paths) if "studyInstanceUID" in text]
    imports = [number for number, text in enumerate(paths) if "services/import" in text]
    assert len(searches) == 1
    assert searches[0] < imports[0]
    hint = shlex.split(warning.rpartition(": ")[2])
    assert hint[0] == "xnatctl"
    shown = xnatctl(*hint[1:], "-o", "json", env=alice)
    assert {row["label"] for row in shown.document["sessions"]} == {"ann_mr", "ann_rm"}
    (both,) = _twice(upload("-P", "DEMO", "-S", "bob", "-E", "bob_mr"))
    assert both.startswith("Sessions ann_mr of subject ann, ann_rm of subject ann in project DEMO already hold this ")


def test_the_same_label_is_never_warned_about(upload, alice, sandbox):
    upload(*FIRST, env=alice)
    for words in ((), ("--overwrite", "append"), ("--overwrite", "delete"), ("--no-resume",)):
        assert not _twice(upload(*FIRST, *words))
    assert not _twice(upload(*FIRST, env=alice))
    assert len(_searches(sandbox)) == 1


def test_a_study_that_waits_in_the_prearchive(xnatctl, upload, alice):
    upload(*FIRST, "--prearchive", env=alice)
    (warning,) = _twice(upload(*TYPO))
    assert warning.startswith("Session ann_mr of subject ann in the prearchive of project DEMO already holds this")
    hint = shlex.split(warning.rpartition(": ")[2])
    assert xnatctl(*hint[1:], env=alice).code == 0
    assert not _twice(upload(*FIRST, "--prearchive"))


@pytest.mark.parametrize("status", [403, 500])
def test_a_server_that_cannot_say_does_not_stop_the_upload(upload, alice, sandbox, status):
    upload(*FIRST, env=alice)
    sandbox.faults.load([{**LISTING, "status": status}])
    assert not _twice(upload(*TYPO))


def test_a_dry_run_reads_the_journals_and_contacts_no_server(upload, alice, sandbox):
    upload(*FIRST, env=alice)
    before = len(sandbox.requests)
    (warning,) = [t for t in upload(*TYPO, "--dry-run", env=alice)["warnings"] if "This machine sent" in t]
    assert "to session ann_mr of subject ann in project DEMO" in warning
    assert not upload(*FIRST, "--dry-run", env=alice)["warnings"]
    assert not upload("-P", "OTHER", *TYPO[2:], "--dry-run", env=alice)["warnings"]
    assert len(sandbox.requests) == before


def test_an_exam_root_is_warned_about_and_one_without_images_asks_nothing(xnatctl, alice, elsewhere, sandbox, tmp_path):
    write_exam(tmp_path / "root" / "DICOM", series=1, instances=2, seed=78, clutter=False)
    (tmp_path / "root" / "NOTES").mkdir()
    (tmp_path / "root" / "NOTES" / "a.txt").write_text("x")
    command = ("session", "upload-exam", tmp_path / "root")
    assert xnatctl(*command, *FIRST, env=alice).code == 0
    second = xnatctl(*command, *TYPO, "-o", "json", env=elsewhere)
    assert second.code == 0, second.err
    assert len(_twice(second.document)) == 1
    before = len(_searches(sandbox))
    files = ("resource", "upload", "-P", "DEMO", "ann_mr", "NOTES", tmp_path / "root" / "NOTES")
    done = xnatctl(*files, env=alice)
    assert done.code == 0, done.err
    assert len(_searches(sandbox)) == before
