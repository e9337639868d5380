"""Whoever watches hears how many files were looked at, in a tree and in an archive file; nobody else does."""

from __future__ import annotations

import tarfile

import pytest

from xnatctl.inventory import progress
from xnatctl.inventory.files import scan_files
from xnatctl.inventory.relisting import changes_since
from xnatctl.inventory.walk import scan_path


def _relisted(root):
    return changes_since(scan_path(root).listing, root, follow_symlinks=False)


@pytest.mark.parametrize(
    ("look", "times", "packed"),
    [(scan_path, 1, False), (scan_path, 1, True), (scan_files, 1, False), (_relisted, 2, False)],
)
def test_files_are_counted(tmp_path, monkeypatch, look, times, packed):
    root = tmp_path / "root"
    for number in range(20):
        (root / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (root / str(number % 3) / f"{number}.txt").write_text("no DICOM")
    if packed:
        with tarfile.open(tmp_path / "root.tar", "w") as archive:
            for path in sorted(root.rglob("*.txt")):
                archive.add(path, path.name)
        root = tmp_path / "root.tar"
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    reported = []
    with progress.reporting_progress(reported.append):
        look(str(root))
    assert reported == list(range(1, 21)) * times
    look(str(root))
    assert len(reported) == 20 * times
