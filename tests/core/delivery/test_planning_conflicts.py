"""Files that claim to be one instance: named, five pairs at most."""

from __future__ import annotations

import pytest

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.errors import Refused
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import write_exam

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")


@pytest.mark.parametrize(("pairs", "named", "more"), [(1, 1, ""), (4, 4, ""), (7, 5, "and 2 pairs more")])
def test_pairs_are_named(tmp_path, pairs, named, more):
    exam = write_exam(tmp_path / "exam", series=1, instances=8, naming=("plain",), clutter=False)
    for number, instance in enumerate(list(exam.instances.values())[:pairs]):
        ds = pydicom.dcmread(instance.path)
        ds.SeriesDescription = "another"
        ds.save_as(exam.directory / f"zz{number}")
    destination = Destination(server="", project="P", subject="s", session="e")
    request = UploadRequest(
        command="session upload", path=str(exam.directory), destination=destination, transport="tar", workers=1
    )
    with pytest.raises(Refused) as error:
        plan_session_upload(request)
    said = error.value.message
    assert sum(uid in said.replace(")", " ").split() for uid in exam.instances) == named
    assert sum(f"zz{number} " in said for number in range(pairs)) == named
    assert more in said
    assert said.count("more") == (1 if more else 0)
