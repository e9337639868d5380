"""zip64, where it must be: lengths known beforehand, read back by Python and by the JDK's streaming reader."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from xnatctl.inventory.files import scan_files
from xnatctl.inventory.sources import open_item
from xnatctl.packing import bodies
from xnatctl.packing.bodies import fits_zip, stored_zip_body

JAVA = """
import java.io.*; import java.util.zip.*;
public class Sizes { public static void main(String[] a) throws Exception {
  try (ZipInputStream in = new ZipInputStream(new BufferedInputStream(System.in, 1 << 20))) {
    ZipEntry e; byte[] b = new byte[1 << 20]; int n;
    while ((e = in.getNextEntry()) != null) {
      CRC32 c = new CRC32(); long size = 0;
      while ((n = in.read(b)) > 0) { c.update(b, 0, n); size += n; }
      System.out.println(e.getName() + " " + size + " " + c.getValue()); } } } }
"""


@pytest.fixture
def items(tmp_path):
    for number in range(5):
        (tmp_path / f"{number} ü#.txt").write_bytes(os.urandom(70_000 * number))
    return scan_files(str(tmp_path)).items


@pytest.mark.parametrize("limit", [100, 150_000, 400_000])
def test_the_large_form_holds_at_any_size(items, monkeypatch, limit):
    """With the limits pulled down, single entries, offsets and the directory go over them, one after the other."""
    monkeypatch.setattr(bodies, "_MAX_ZIP", limit)
    body = stored_zip_body(items, open_item)
    content = b"".join(body.chunks())
    assert len(content) == body.length
    # Fields that must be looked up in the zip64 records are full; Python reads those only where they are.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {m.filename: archive.read(m) for m in archive.infolist()} == {
            item.name: Path(item.file).read_bytes() for item in items
        }


def test_many_entries_have_their_number_in_the_large_end(items, monkeypatch):
    monkeypatch.setattr(bodies, "_MAX_ENTRIES", 3)
    body = stored_zip_body(items, open_item)
    content = b"".join(body.chunks())
    assert len(content) == body.length
    assert b"PK\x06\x06" in content
    assert not fits_zip(items)


def test_lengths_of_very_large_files_are_known_without_reading_them(items):
    large = tuple(replace(item, size=5 * 2**30) for item in items)
    assert stored_zip_body(large, open_item).length > 25 * 2**30
    assert not fits_zip(large[:1])


@pytest.mark.lab  # it reads 5 GiB
@pytest.mark.timeout(600)
def test_the_jdk_reads_five_gibibytes_as_a_stream(tmp_path):
    """The class that XNAT unpacks with; a sparse file, so that no disk is filled."""
    assert shutil.which("java"), "the lab needs a JDK"
    path = tmp_path / "large [1].bin"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    (tmp_path / "Sizes.java").write_text(JAVA)
    (tmp_path / "after.txt").write_bytes(b"the entry behind it")
    body = stored_zip_body((*scan_files(str(path)).items, *scan_files(str(tmp_path / "after.txt")).items), open_item)
    reader = subprocess.Popen(
        ["java", tmp_path / "Sizes.java"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    )
    assert reader.stdin is not None
    sent = 0
    for chunk in body.chunks():
        reader.stdin.write(chunk)
        sent += len(chunk)
    out, _ = reader.communicate()
    assert sent == body.length
    assert [line.split()[-2] for line in out.decode().splitlines()] == [str(5 * 2**30), "19"]
