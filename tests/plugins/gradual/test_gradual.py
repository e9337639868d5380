"""One file, one request, its bytes unchanged."""

from __future__ import annotations

from pathlib import Path

from xnatctl.inventory.walk import scan_path
from xnatctl.testing import FakeImporter, make_context, write_exam
from xnatctl_gradual.transport import GradualTransport


def test_every_file_is_a_request_of_its_own(tmp_path):
    write_exam(tmp_path, series=2, instances=5, seed=1)
    items = scan_path(str(tmp_path)).items
    importer = FakeImporter()
    with GradualTransport(make_context(importer)) as made:
        batches = made.batches(items, 4)
        assert sorted(len(batch.items) for batch in batches) == [1] * 10
        for batch in batches:
            made.send(batch, lambda event: None)
    bodies = {received.paths[0]: received.content for received in importer.received}
    assert bodies == {item.path: Path(item.file).read_bytes() for item in items}
    assert {(r.handler, r.content_type) for r in importer.received} == {("gradual-DICOM", "application/dicom")}


def test_a_changed_file_is_said(tmp_path):
    write_exam(tmp_path, series=1, instances=2, seed=1, clutter=False)
    items = scan_path(str(tmp_path)).items
    Path(items[0].file).write_bytes(b"other")
    importer = FakeImporter()
    with GradualTransport(make_context(importer)) as made:
        results = [made.send(batch, lambda event: None) for batch in made.batches(items, 1)]
    outcomes = {o.path: o.outcome for result in results for o in result.outcomes}
    assert outcomes == {items[0].path: "changed", items[1].path: "accepted"}
