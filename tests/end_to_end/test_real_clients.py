"""Clients that nobody here wrote read back what we uploaded: xnatpy and pyxnat, unmodified."""

from __future__ import annotations

import warnings

import pytest
from kept import kept

# Their own habits (naive dates, missing dependencies of dependencies) are not ours to judge.
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def uploaded(xnatctl, sandbox, alice, exam):
    done = xnatctl("session", "upload", exam.directory, "-P", "DEMO", "-S", "subj01", "-E", "sess01", env=alice)
    assert done.code == 0, done.err
    return exam


@pytest.fixture
def xnatpy(sandbox):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import xnat

        with xnat.connect(sandbox.url, user="alice", password="alice", loglevel="CRITICAL") as session:
            yield session


def test_xnatpy_lists_and_reads_back(xnatpy, uploaded):
    assert "DEMO" in xnatpy.projects
    assert "PRIVATE" not in xnatpy.projects
    project = xnatpy.projects["DEMO"]
    assert [subject.label for subject in project.subjects.values()] == ["subj01"]
    (experiment,) = project.experiments.values()
    assert experiment.label == "sess01"
    assert experiment.uid == uploaded.study_instance_uid
    assert sorted(experiment.scans.keys()) == ["1", "2", "3"] or len(experiment.scans) == 3
    digests = set()
    for scan in experiment.scans.values():
        files = scan.resources["DICOM"].files
        assert len(files) == 20
        digests |= {kept(file.open().read()) for file in list(files.values())[:5]}
    assert len(digests) == 15
    assert digests <= {kept(instance.path) for instance in uploaded.instances.values()}


def test_xnatpy_creates_a_resource_and_reads_it_back(xnatpy, uploaded, tmp_path):
    (experiment,) = xnatpy.projects["DEMO"].experiments.values()
    note = tmp_path / "note.txt"
    note.write_bytes(b"a note\n")
    resource = experiment.create_resource("NOTES")
    resource.upload(str(note), "note.txt")
    experiment.clearcache()
    assert experiment.resources["NOTES"].files["note.txt"].open().read() == b"a note\n"


def test_xnatpy_with_a_wrong_password_is_refused(sandbox):
    import xnat

    with pytest.raises(xnat.exceptions.XNATAuthError):
        xnat.connect(sandbox.url, user="alice", password="wrong", loglevel="CRITICAL")


def test_xnatpy_imports_through_the_prearchive(xnatpy, device_exam, sandbox, tmp_path):
    """Not our client: its own import and archive calls must meet an XNAT here."""
    import zipfile

    packed = tmp_path / "one.zip"
    records = list(device_exam.instances.values())[:12]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for record in records:
            out.write(record.path, f"{record.sop_instance_uid}.dcm")
    waiting = xnatpy.services.import_(
        str(packed), project="DEMO", subject="other", experiment="other1", destination="/prearchive",
        import_handler="DICOM-zip",
    )  # fmt: skip
    assert waiting.status == "READY"
    archived = waiting.archive()
    assert archived.label == "other1"
    stored = [kept(entry["path"]) for entry in sandbox.instances() if entry["place"] == "archive"]
    assert sorted(stored) == sorted(kept(record.path) for record in records)


def test_pyxnat_lists_and_reads_back(sandbox, uploaded, tmp_path):
    import pyxnat

    interface = pyxnat.Interface(server=sandbox.url, user="alice", password="alice", verify=False)
    try:
        assert set(interface.select.projects().get()) == {"DEMO", "MANUAL"}
        project = interface.select.project("DEMO")
        (subject,) = project.subjects()
        assert subject.label() == "subj01"
        (experiment,) = subject.experiments()
        assert experiment.label() == "sess01"
        scans = experiment.scans().get()
        assert len(scans) == 3
        files = list(experiment.scan("1").resource("DICOM").files())
        assert len(files) == 20
        target = tmp_path / "back.dcm"
        files[0].get(str(target))
        assert kept(target) in {kept(instance.path) for instance in uploaded.instances.values()}
    finally:
        interface.disconnect()
