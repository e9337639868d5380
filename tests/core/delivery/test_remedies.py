"""The hint about files that cannot be sent names the kinds of trouble that they have."""

from __future__ import annotations

import pytest

from xnatctl.delivery.remedies import remedy_for
from xnatctl.model.plan import Exclusion

CUT = "damaged: ends 9 bytes before the end of an element"
CLOSED = "cannot be read: Permission denied"
PACKED = "a packed file that holds DICOM"
ABSENT = "its content is not on this disk; fetch it with: cd x && git annex get y"


@pytest.mark.parametrize(
    ("reasons", "remedy"),
    [
        ([CUT], "Repair the file or move it away"),
        ([CUT, CUT], "Repair the files or move them away"),
        ([CLOSED], "Make the file readable or move it away"),
        ([PACKED, "a packed file that may hold DICOM and cannot be inspected"], "Unpack the files or move them away"),
        ([ABSENT], "Fetch its content or move it away"),
        (["DICOM without a Study Instance UID"], "Correct its header or move it away"),
        ([CLOSED, CUT], "Repair what is damaged, make the other files readable, or move the files away"),
    ],
)
def test_each_kind_of_trouble_is_named_once(reasons, remedy):
    assert remedy_for([Exclusion(path=str(n), reason=reason) for n, reason in enumerate(reasons)]) == remedy
