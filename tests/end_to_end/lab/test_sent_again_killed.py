"""An instance that is stored with an odd size is sent again once; a kill in between never makes it accepted unsent."""

from __future__ import annotations

import io

import pydicom
import pytest
from kept import assert_kept

from xnatctl.testing import write_exam

pytestmark = [pytest.mark.once, pytest.mark.lab]


@pytest.fixture
def small_exam(tmp_path):
    return write_exam(tmp_path / "exam", series=1, instances=1, seed=11, clutter=False)


@pytest.mark.timeout(600)
def test_killed_at_each_journal_write_of_the_run_that_sends_again(lab, full):
    """Another tool's version, with another head, takes the place of the instance in the archive."""
    (instance,) = lab.exam.instances.values()
    ds, theirs = pydicom.dcmread(instance.path), io.BytesIO()
    ds.StudyDescription = "Short"
    ds.save_as(theirs)
    lab.upload("gradual")

    def prepare():
        lab.start_over()
        assert lab.run()[0] == 0
        lab.sandbox.others.replace(instance.sop_instance_uid, theirs.getvalue(), noticed=True)

    prepare()
    last = lab.writes()
    killed = 0
    for point in range(1, last + 1) if full else range(1, last + 1, 2):
        prepare()
        killed += lab.crash(point, "after")
        lab.quiet()
        code, report = lab.run()
        assert code == 0, (point, report["error"])
        (held,) = [entry for entry in lab.sandbox.instances() if entry["place"] == "archive"]
        assert_kept(held["path"], instance.path)
    assert killed


@pytest.mark.lab
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_killed_at_each_journal_write_of_an_append_that_is_stored_shorter(
    lab, tmp_path, elsewhere, xnatctl, full, mode
):
    """The session is somebody else's; the one instance that is added to it has no neighbours that explain its size."""
    theirs = write_exam(tmp_path / "theirs", series=1, instances=3, seed=11, clutter=False)
    for instance in theirs.instances.values():
        _into_another_series(instance.path)
    (instance,) = lab.exam.instances.values()
    lab.upload(mode, "--overwrite", "append").hasten()

    def prepare():
        lab.start_over()
        names = ("-P", "DEMO", "-S", "s", "-E", "e")
        assert xnatctl("session", "upload", theirs.directory, *names, "--no-resume", env=elsewhere).code == 0
        lab.sandbox.switches.site_script = {"PatientName": "A"}

    prepare()
    before = {entry["sop_instance_uid"]: entry["sha256"] for entry in lab.sandbox.instances()}
    last = lab.writes()
    killed = 0
    for point in range(1, last + 1) if full else range(max(1, last - 6), last + 1):
        lab.sandbox.switches.site_script = {}
        prepare()
        killed += lab.crash(point, "after")
        lab.quiet()
        codes = []
        while (not codes or codes[-1] != 0) and len(codes) < 2:
            code, report = lab.run()
            codes.append(code)
        assert codes[-1] == 0, (point, codes, report["error"])
        held = {entry["sop_instance_uid"]: entry for entry in lab.sandbox.instances()}
        assert len(held) == 4
        assert {uid: held[uid]["sha256"] for uid in before} == before
        assert held[instance.sop_instance_uid]["place"] == "archive"
    assert killed


def _into_another_series(path):
    ds = pydicom.dcmread(path)
    ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.826.0.1.78", 78
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.78.{ds.InstanceNumber}"
    ds.save_as(path)
