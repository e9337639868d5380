"""The inventory of files that a caller has listed."""

from __future__ import annotations

import os

from xnatctl.inventory.walk import scan_listed, scan_path
from xnatctl.testing import write_exam


def test_only_the_listed_files_are_looked_at_and_found_as_in_the_whole_tree(tmp_path):
    exam = write_exam(tmp_path / "exam", series=2, instances=3, seed=1, clutter=False)
    root = str(tmp_path / "exam")
    whole = scan_path(root)
    paths = [instance.path.relative_to(root).as_posix() for instance in exam.instances.values()]
    found = scan_listed(root, paths[:4])
    assert {item.path for item in found.items} == set(paths[:4])
    known = {item.path: item for item in whole.items}
    assert all(item == known[item.path] for item in found.items)
    assert found.listing == ""
    assert scan_listed(root, []).items == ()


def test_files_that_cannot_be_sent_are_named(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=2, seed=1, clutter=False)
    first, second = (instance.path for instance in exam.instances.values())
    first.write_bytes(first.read_bytes()[:-10])
    (tmp_path / "exam" / "note.txt").write_text("a note")
    root = str(tmp_path / "exam")
    found = scan_listed(root, [os.path.relpath(first, root), os.path.relpath(second, root), "note.txt", "gone.dcm"])
    assert [item.path for item in found.items] == [os.path.relpath(second, root)]
    assert [entry.path for entry in found.invalid] == [os.path.relpath(first, root)]
    assert [entry.path for entry in found.excluded] == ["note.txt"]
    assert [entry.path for entry in found.unreadable] == ["gone.dcm"]
