"""How a directory is cut into requests, and which files go alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xnatctl.api.commands import scan_files
from xnatctl.model.refs import is_plain_path
from xnatctl.testing import FakeWriter, make_context
from xnatctl_resource.transport import ALONE_BYTES, BUNDLE_BYTES, BUNDLE_FILES, ResourceTransport


@pytest.fixture
def item(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    return scan_files(str(tmp_path / "x")).items[0]


def batches(items):
    with ResourceTransport(make_context(writer=FakeWriter())) as transport:
        return transport.batches(items, 1)


def test_ten_thousand_files_are_five_bundles(item):
    items = [replace(item, path=f"{n:05}", resource_name=f"{n:05}", size=n % 100) for n in range(10_000)]
    cut = batches(items)
    assert [len(batch.items) for batch in cut] == [BUNDLE_FILES] * 5
    assert [i.name for batch in cut for i in batch.items] == sorted(i.name for i in items)


def test_bundles_are_bounded_in_bytes_and_large_files_go_alone(item):
    sizes = [ALONE_BYTES - 1] * 9 + [ALONE_BYTES, 5 * 2**30]
    cut = batches([replace(item, path=str(n), resource_name=str(n), size=size) for n, size in enumerate(sizes)])
    assert all(batch.size <= BUNDLE_BYTES or len(batch.items) == 1 for batch in cut)
    assert sorted(len(batch.items) for batch in cut) == [1, 1, 1, 4, 4]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.txt", True), ("with space.txt", True), ("sub/folder/~x-1_.nii.gz", True), ("a+b.txt", False),
        ("a%20b.txt", False), ("a#b", False), ("ü.txt", False), ("a[1]", False), ("..", False), ("a/../b", False),
        ("a//b", False), ("/a", False), ("a/", False), ("new\nline", False), ("a.txt\n", False),
    ],
)  # fmt: skip
def test_names_that_a_url_keeps(item, name, plain):
    assert is_plain_path(name) is plain
    assert replace(item, resource_name=name).goes_alone is plain
    assert not replace(item, resource_name=name, size=0).goes_alone
    assert not is_plain_path("")


def test_what_goes_alone_and_what_in_a_bundle(tmp_path):
    writer = FakeWriter()
    for name, content in {"plain.txt": b"1", "odd#.txt": b"2", "empty.txt": b""}.items():
        (tmp_path / name).write_bytes(content)
        items = scan_files(str(tmp_path / name)).items
        with ResourceTransport(make_context(writer=writer)) as transport:
            (batch,) = transport.batches(items, 1)
            transport.send(batch, lambda event: None)
    assert writer.stored == {"plain.txt": b"1", "odd#.txt": b"2", "empty.txt": b""}
