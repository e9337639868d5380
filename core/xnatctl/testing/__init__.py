"""The test kit for plugin authors.

`write_exam` makes real DICOM to upload, `contracts` holds the suites that every transport, credential source and
formatter must pass, `fakes` the other side of a transport.
"""

from __future__ import annotations

from xnatctl.testing.exam import Exam, Instance, write_exam
from xnatctl.testing.fakes import FakeImporter, FakeWriter, make_context, make_item, make_receiver_context

__all__ = [
    "Exam",
    "FakeImporter",
    "FakeWriter",
    "Instance",
    "make_context",
    "make_item",
    "make_receiver_context",
    "write_exam",
]
