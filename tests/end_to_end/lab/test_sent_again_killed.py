"""An instance that is stored with an odd size is sent again once; a kill in between never makes it accepted unsent."""

from __future__ import annotations

import io

import pydicom
import pytest
from kept import assert_kept

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once


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
