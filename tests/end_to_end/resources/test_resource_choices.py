"""Hidden files, labels, and the resources in which XNAT keeps images."""

from __future__ import annotations

import pytest

from xnatctl.testing import write_exam

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bids"
    for name in ("dataset_description.json", ".bidsignore", "sub-1/.hidden/a.txt", ".DS_Store", "__MACOSX/._x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def to_project(xnatctl, alice, folder):
    def run(label, *more):
        words = ("-P", "DEMO", "--project-level", label, folder, "-o", "json", *more)
        return xnatctl("resource", "upload", *words, env=alice)

    return run


def sent(done):
    return {item["path"] for item in done.document["items"]}


def test_hidden_files_go_when_they_are_asked_for(to_project):
    done = to_project("BIDS")
    assert done.code == 0, done.err
    assert sent(done) == {"dataset_description.json"}
    done = to_project("BIDS", "--hidden")
    assert done.code == 0, done.err
    assert sent(done) == {"dataset_description.json", ".bidsignore", "sub-1/.hidden/a.txt"}
    assert {entry["path"] for entry in done.document["excluded"]} == {".DS_Store", "__MACOSX"}


@pytest.mark.parametrize(("label", "instead"), [("a b", "a_b"), ("123", "_123"), ("v1.0", "v1_0"), ("é", "_")])
def test_both_commands_refuse_the_same_labels(xnatctl, to_project, alice, tmp_path, label, instead):
    refused = to_project(label)
    assert refused.code == 7, refused.err
    exam = write_exam(tmp_path / "exam", series=1, instances=1)
    of_exam = xnatctl("session", "upload-exam", exam.directory, *NAMES, "--misc-label", label, "--dry-run", env=alice)
    assert of_exam.code == 2
    for text in (refused.err, of_exam.err):
        assert instead in text
        assert "XNAT allows only letters" in text or "XNAT takes a label of digits alone" in text


@pytest.mark.parametrize("label", ["DICOM", "secondary"])
def test_where_xnat_keeps_images_is_written_to_only_when_that_is_meant(
    xnatctl, sandbox, alice, folder, tmp_path, label
):
    exam = write_exam(tmp_path / "exam", series=1, instances=1, clutter=False)
    assert xnatctl("session", "upload", exam.directory, *NAMES, env=alice).code == 0
    words = ("resource", "upload", "e", label, folder, "-P", "DEMO", "--scan", "1")
    done = xnatctl(*words, env=alice)
    assert done.code == 7
    assert "--image-resource" in done.err
    assert "NIFTI" in done.err
    assert xnatctl(*words, "--image-resource", env=alice).code == 0
    assert xnatctl("resource", "upload", "e", label, folder, "-P", "DEMO", env=alice).code == 0, "of the session"
