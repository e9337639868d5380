"""Bundles read back by tarfile, tar, zipfile, unzip and the JDK's own streaming reader; their length known beforehand."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xnatctl.api import SourceChanged
from xnatctl.inventory.sources import open_item
from xnatctl.inventory.walk import scan_path
from xnatctl.packing import deflate
from xnatctl.packing.bodies import deflated_zip_body, fits_zip, stored_zip_body, tar_body, tar_header, tgz_body
from xnatctl.testing import FakeImporter, make_context, make_item, write_exam
from xnatctl_zip.choice import CompressionChoice, compressible
from xnatctl_zip.transport import TarTransport, ZipTransport

JAVA = """
import java.io.*; import java.util.zip.*; import java.security.*;
public class Read { public static void main(String[] a) throws Exception {
  try (ZipInputStream in = new ZipInputStream(new FileInputStream(a[0]))) {
    ZipEntry e; byte[] b = new byte[65536]; int n;
    while ((e = in.getNextEntry()) != null) {
      MessageDigest d = MessageDigest.getInstance("SHA-256");
      while ((n = in.read(b)) > 0) d.update(b, 0, n);
      StringBuilder s = new StringBuilder();
      for (byte x : d.digest()) s.append(String.format("%02x", x));
      System.out.println(e.getName() + " " + s); } } } }
"""
BODIES = {
    "tar": tar_body,
    "tgz": tgz_body,
    "stored": stored_zip_body,
    "deflated": lambda items, opener: deflated_zip_body(items, opener, compressible),
}


@pytest.fixture
def items(tmp_path):
    write_exam(tmp_path / "exam", series=2, instances=6, seed=1)
    large = tmp_path / "exam" / "large"
    large.write_bytes(os.urandom(200_000))
    found = scan_path(str(tmp_path / "exam")).items
    return (*found, make_item(large, path="large", resource_name="1.2.3.dcm"))


def expected(items):
    return {item.name: hashlib.sha256(Path(item.file).read_bytes()).hexdigest() for item in items}


def content(body):
    return b"".join(body.chunks())


def digests_of_tar(data, mode):
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as archive:
        return {m.name: hashlib.sha256(archive.extractfile(m).read()).hexdigest() for m in archive}


@pytest.mark.parametrize("kind", BODIES)
def test_length_is_known_and_the_bytes_are_the_same_each_time(items, kind):
    body = BODIES[kind](items, open_item)
    first = content(body)
    assert len(first) == body.length
    assert content(body) == first
    assert content(BODIES[kind](items, open_item)) == first


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_tar_is_read_back(items, tmp_path):
    data = content(tar_body(items, open_item))
    assert digests_of_tar(data, "r:") == expected(items)
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    listed = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == len(items)
    assert str(tmp_path) not in data.decode("latin-1")


def test_tgz_is_read_back(items):
    assert digests_of_tar(content(tgz_body(items, open_item)), "r:gz") == expected(items)


@pytest.mark.parametrize("kind", ["stored", "deflated"])
def test_zip_is_read_back(items, tmp_path, kind):
    data = content(BODIES[kind](items, open_item))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {n: hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist()} == expected(items)
    if shutil.which("unzip"):
        path = tmp_path / "x.zip"
        path.write_bytes(data)
        assert subprocess.run(["unzip", "-tq", path], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["stored", "deflated"])
def test_the_jdk_reads_it_as_a_stream(items, tmp_path, kind):
    """The class that XNAT reads uploads with. In CI a missing JDK is a failure, elsewhere a visible skip."""
    if shutil.which("java") is None:
        assert not os.environ.get("CI"), "CI must have a JDK for this"
        pytest.skip("no java here")
    (tmp_path / "Read.java").write_text(JAVA)
    path = tmp_path / "x.zip"
    path.write_bytes(content(BODIES[kind](items, open_item)))
    done = subprocess.run(
        ["java", tmp_path / "Read.java", path], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == expected(items)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lengths_hold_for_any_sizes(tmp_path, sizes):
    made = []
    for number, size in enumerate(sizes):
        path = tmp_path / f"f{number}"
        path.write_bytes(bytes(size))
        made.append(make_item(path, path=path.name, resource_name=f"1.{number}.dcm"))
    for build in BODIES.values():
        body = build(made, open_item)
        assert len(content(body)) == body.length


@pytest.mark.parametrize("kind", ["tgz", "deflated"])
def test_zlib_does_the_same_where_isal_is_missing(items, monkeypatch, kind):
    monkeypatch.setattr(deflate, "_isal", None)
    data = content(BODIES[kind](items, open_item))
    if kind == "tgz":
        assert digests_of_tar(data, "r:gz") == expected(items)
    else:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert {n: hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist()} == expected(items)


def test_a_header_holds_sizes_of_8_gib_and_more():
    info = tarfile.TarInfo.frombuf(tar_header(b"x.dcm", 9 * 2**30), "ascii", "strict")
    assert (info.name, info.size, info.mode, info.uid) == ("x.dcm", 9 * 2**30, 0o644, 0)


def test_what_does_not_fit_a_zip_is_known_before(items):
    from dataclasses import replace

    assert fits_zip(items)
    assert not fits_zip((replace(items[0], size=5 * 2**30),))


def test_compressed_syntaxes_are_stored(items):
    from dataclasses import replace

    jpeg = tuple(
        replace(item, series=replace(item.series, transfer_syntax_uid="1.2.840.10008.1.2.4.90")) for item in items
    )
    body = deflated_zip_body(jpeg, open_item, compressible)
    assert body.length == stored_zip_body(jpeg, open_item).length


@pytest.mark.parametrize(
    ("transport", "compress", "version", "kind"),
    [(TarTransport, "never", (1, 8, 11), "application/x-tar"), (TarTransport, "always", (1, 8, 11), "application/x-gtar"),
     (TarTransport, "auto", (1, 8, 11), "application/x-tar"), (TarTransport, "never", (1, 8, 2), "application/zip"),
     (ZipTransport, "never", (1, 7), "application/zip"), (ZipTransport, "always", (1, 8, 11), "application/zip")],
)  # fmt: skip
def test_content_types(items, transport, compress, version, kind):
    importer, events = FakeImporter(version=version), []
    with transport(make_context(importer, options={"compress": compress})) as made:
        for batch in made.batches(items, 2):
            result = made.send(batch, events.append)
            assert all(outcome.outcome.delivered for outcome in result.outcomes)
    assert {received.content_type for received in importer.received} == {kind}
    assert {received.handler for received in importer.received} == {"DICOM-zip"}
    warnings = [event for event in events if event.kind == "warning"]
    assert len(warnings) == (1 if kind == "application/zip" and transport is TarTransport else 0)


@pytest.mark.parametrize("compress", ["never", "always"])
def test_a_changed_file_costs_itself_and_the_others_go_again(items, compress):
    Path(items[3].file).write_bytes(b"changed")
    importer = FakeImporter()
    with TarTransport(make_context(importer, options={"compress": compress})) as made:
        (batch,) = [b for b in made.batches(items, 1) if items[3] in b.items]
        result = made.send(batch, lambda event: None)
    outcomes = {outcome.path: outcome.outcome for outcome in result.outcomes}
    assert outcomes.pop(items[3].path) == "changed"
    assert set(outcomes.values()) <= {"ambiguous"}
    assert importer.received == []


def test_auto_compresses_only_where_the_link_is_slower_than_the_compressor(items):
    from dataclasses import replace

    large = tuple(replace(item, size=4 * 2**20) for item in items)
    slow, fast = CompressionChoice("auto"), CompressionChoice("auto")
    assert not slow.compress(large), "nothing is known yet"
    slow.sent(100 * 2**20, 10)
    assert slow.compress(large)
    slow.packed(100 * 2**20, 0.5)
    assert slow.compress(large)
    fast.sent(1000 * 2**20, 1)
    assert fast.compress(large), "one batch measures the compressor"
    fast.packed(100 * 2**20, 0.5)
    assert not fast.compress(large)
    assert not slow.compress(items[:1]), "a small upload is over before it pays"


def test_memory_is_flat_for_a_gigabyte(tmp_path):
    """A sparse file of 1 GiB through a tar body, in a child whose peak memory is looked at."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    code = f"""
        import re
        from pathlib import Path
        from xnatctl.testing import make_item
        from xnatctl.inventory.sources import open_item
        from xnatctl.packing.bodies import tar_body
        item = make_item(Path({str(big)!r}), path="big", resource_name="1.2.dcm")
        body = tar_body((item,), open_item)
        whole = sum(map(len, body.chunks())) == body.length
        # The kernel's own peak of this process; ru_maxrss would count the parent before exec.
        print(whole, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=100
    )
    whole, peak = done.stdout.split()
    assert whole == "True"
    assert int(peak) < 120 * 1024


def test_a_body_notices_a_source_that_shrinks(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(3 << 20))
    body = tar_body((make_item(path, path="x", resource_name="1.dcm"),), open_item)
    with pytest.raises(SourceChanged):
        for number, _ in enumerate(body.chunks()):
            if number == 0:
                os.truncate(path, 1000)
