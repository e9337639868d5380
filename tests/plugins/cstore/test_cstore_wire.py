"""What goes over the wire: the bytes of the files, cut as the receiver wants it, one association per worker."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from xnatctl.inventory.walk import scan_path
from xnatctl.testing.contracts import ReceiverTransportContract
from xnatctl.testing.fakes import make_receiver_context
from xnatctl_cstore.dataset import offset_of
from xnatctl_cstore.transport import CStoreTransport


@pytest.mark.parametrize("workers", [1, 4])
def test_every_transfer_syntax_arrives_byte_for_byte(scripted, deliver, mixed, tmp_path, workers):
    expected = mixed.write(tmp_path / "exam", 80, classes=(mixed.CT, mixed.MR))
    receiver = scripted()
    done = deliver(tmp_path / "exam", receiver.port, workers=workers)
    assert done.error is None
    assert receiver.digests == expected
    assert {entry.transfer_syntax for entry in receiver.stored} == set(mixed.SYNTAXES)
    assert len(receiver.associations) <= workers, "one association per worker carries all of its instances"
    assert receiver.endings() == {"release"}
    assert done.report.bytes == sum(path.stat().st_size for path in (tmp_path / "exam").iterdir())


def test_contexts_are_what_was_found_with_one_transfer_syntax_each(scripted, deliver, mixed, tmp_path):
    mixed.write(tmp_path / "exam", 10, syntaxes=(mixed.EXPLICIT, mixed.JPEG_2000), classes=(mixed.CT, mixed.MR))
    receiver = scripted()
    assert deliver(tmp_path / "exam", receiver.port).error is None
    pairs = {(c, (s,)) for c in (mixed.CT, mixed.MR) for s in (mixed.EXPLICIT, mixed.JPEG_2000)}
    for talk in receiver.talks:
        assert {(sop_class, tuple(syntaxes)) for sop_class, syntaxes in talk.proposed} == pairs
        assert (talk.calling, talk.called) == ("XNATCTL", "XNAT")


def _instance(mixed, number: int, syntax: str) -> tuple[str, bytes, bytes]:
    """UID, data set, file."""
    instance = mixed.uid("odd", number)
    data = mixed.template(syntax).data_set(instance, mixed.uid("odd", "series"), mixed.uid("odd", "study"))
    return instance, data, mixed.part10(data, syntax, mixed.CT, instance)


def test_odd_files_are_not_tidied_up(scripted, deliver, mixed, tmp_path):
    """Without preamble, without meta header, with something behind the end, with a wrong group length."""
    folder = tmp_path / "exam"
    folder.mkdir()
    expected: dict[str, str] = {}
    syntaxes: dict[str, str] = {}

    def add(name: str, content: bytes, data: bytes, instance: str, syntax: str) -> None:
        (folder / name).write_bytes(content)
        expected[instance] = hashlib.sha256(data).hexdigest()
        syntaxes[instance] = syntax

    for number, syntax in enumerate((mixed.IMPLICIT, mixed.EXPLICIT, mixed.BIG_ENDIAN)):
        instance, data, _ = _instance(mixed, number, syntax)
        add(f"bare {number}", data, data, instance, syntax)
    instance, data, content = _instance(mixed, 10, mixed.EXPLICIT)
    add("no preamble", content[132:], data, instance, mixed.EXPLICIT)
    instance, data, content = _instance(mixed, 30, mixed.EXPLICIT)
    trailing = b"\xfc\xff\xfc\xffOB\0\0\x06\0\0\0\0\0\0\0\0\0" + b"garbage behind the end. "
    assert not len(data + trailing) % 2
    add("trailing", content + trailing, data + trailing, instance, mixed.EXPLICIT)
    instance, data, content = _instance(mixed, 40, mixed.EXPLICIT)
    add("wrong group length", content[:140] + b"\x08\0\0\0" + content[144:], data, instance, mixed.EXPLICIT)
    instance, data, content = _instance(mixed, 50, mixed.EXPLICIT)
    add("no group length", content[:132] + content[144:], data, instance, mixed.EXPLICIT)
    receiver = scripted()
    done = deliver(folder, receiver.port)
    assert done.error is None, done.reasons
    assert receiver.digests == expected
    assert {entry.sop_instance: entry.transfer_syntax for entry in receiver.stored} == syntaxes


@pytest.mark.parametrize("limit", [64, 127, 16384, 0])
def test_a_data_set_of_odd_length_is_padded(scripted, deliver, mixed, tmp_path, limit):
    """At its last value when that is the odd one (PS3.5 7.1.1), otherwise by a NUL at its end (A.5)."""
    expected = mixed.write_odd(tmp_path / "exam")
    receiver = scripted(max_pdu=limit)
    done = deliver(tmp_path / "exam", receiver.port)
    assert done.error is None, done.reasons
    assert receiver.digests == expected
    assert done.report.bytes == sum(path.stat().st_size for path in (tmp_path / "exam").iterdir())


@pytest.mark.parametrize(
    "head", [b"", b"\x02\0", b"\x02\0\x10\0UI\xff\xff" + bytes(20), b"\x02\0\x01\0OB\0\0\xff\xff\xff\xff"]
)
def test_a_broken_meta_header_leads_nowhere_else(head):
    assert 0 <= offset_of(head) <= len(head)


@pytest.mark.parametrize("limit", [64, 127, 4096, 16384, 131072, 0])
def test_the_receivers_pdu_limit_is_kept(scripted, deliver, mixed, tmp_path, limit):
    expected = mixed.write(tmp_path / "exam", 8, size=256)
    receiver = scripted(max_pdu=limit)
    assert deliver(tmp_path / "exam", receiver.port).error is None
    assert receiver.digests == expected
    for talk in receiver.associations:
        if limit:
            assert max(talk.pdus) <= limit
        assert all(length % 2 == 0 for length in talk.fragments)


def _large(mixed, path: Path, size: int) -> str:
    """One instance that a file of `size` bytes holds; SHA-256 of its data set as it is sent, which is even in length."""
    _, data, content = _instance(mixed, 1, mixed.EXPLICIT)
    filler = size - len(content)
    with path.open("wb") as file:
        file.write(content)
        file.write(b"\xfc\xff\xfc\xffOB\0\0" + (filler - 12).to_bytes(4, "little"))
        odd = (len(data) + filler) % 2
        digest = hashlib.sha256(data + b"\xfc\xff\xfc\xffOB\0\0" + (filler - 12 + odd).to_bytes(4, "little"))
        left = filler - 12
        block = bytes(range(256)) * 4096
        while left:
            piece = block[: min(left, len(block))]
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    digest.update(bytes(odd))
    return digest.hexdigest()


@pytest.mark.parametrize("archive", [False, True])
def test_a_large_data_set_is_sent_in_windows(scripted, deliver, mixed, tmp_path, archive):
    """48 MiB, odd in length; the receiver's copy is counted in, so the sender's share is measured apart."""
    path = tmp_path / "large.dcm"
    digest = _large(mixed, path, 48 * 2**20 + 1)
    if archive:
        with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
            bundle.write(path, "folder/large")
        path = tmp_path / "large.zip"
    receiver = scripted(max_pdu=1 << 17, new_data=_Stream)
    tracemalloc.start()
    try:
        done = deliver(path, receiver.port, workers=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.error is None
    assert [entry.digest for entry in receiver.stored] == [digest]
    assert peak < 12 * 2**20, f"{peak / 2**20:.1f} MiB"


class _Stream:
    """Adds up like bytes and keeps a hash only, so that the receiver needs no memory for it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self.hash.hexdigest()

    def __add__(self, other: bytes):
        self.hash.update(other)
        return self


def test_the_members_of_an_archive_file_are_sent(scripted, deliver, mixed, tmp_path):
    expected = mixed.write(tmp_path / "exam", 24)
    with zipfile.ZipFile(tmp_path / "exam.ZIP", "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in (tmp_path / "exam").iterdir():
            bundle.write(path, f"some/where/{path.name}")
    receiver = scripted()
    assert deliver(tmp_path / "exam.ZIP", receiver.port).error is None
    assert receiver.digests == expected


def test_an_answer_in_many_small_pieces_is_read(scripted, deliver, mixed, tmp_path):
    expected = mixed.write(tmp_path / "exam", 12)
    receiver = scripted(answer=lambda talk, number, instance: ("split", 0))
    assert deliver(tmp_path / "exam", receiver.port).error is None
    assert receiver.digests == expected


def test_message_ids_go_round(scripted, deliver, mixed, tmp_path, monkeypatch):
    """The 65,536th instance of an association is number 1 again."""
    from xnatctl_cstore.association import Association

    original = Association.__init__

    def late(self, *arguments):
        original(self, *arguments)
        self._message = 65533

    monkeypatch.setattr(Association, "__init__", late)
    expected = mixed.write(tmp_path / "exam", 10)
    receiver = scripted()
    assert deliver(tmp_path / "exam", receiver.port, workers=1).error is None
    assert receiver.digests == expected


def test_more_contexts_than_an_association_has(scripted, deliver, mixed, tmp_path):
    """130 pairs of SOP class and transfer syntax: two groups, no group above 128, nothing twice."""
    from pynetdicom.sop_class import _STORAGE_CLASSES

    classes = sorted(map(str, _STORAGE_CLASSES.values()))[:26]
    syntaxes = (mixed.IMPLICIT, mixed.EXPLICIT, mixed.BIG_ENDIAN, mixed.JPEG, mixed.RLE)
    expected = mixed.write(tmp_path / "exam", 260, syntaxes=syntaxes, classes=classes)
    receiver = scripted()
    done = deliver(tmp_path / "exam", receiver.port, workers=3)
    assert done.error is None
    assert receiver.digests == expected
    assert max(len(talk.proposed) for talk in receiver.talks) == 128
    assert len({(entry.sop_class, entry.transfer_syntax) for entry in receiver.stored}) == 130
    assert len(receiver.associations) <= 6


def test_a_file_that_changes_under_way_is_never_finished(scripted, deliver, mixed, tmp_path):
    """Its last window is never sent; the others of the run are."""
    folder = tmp_path / "exam"
    expected = mixed.write(folder, 6)
    large = folder / "large"
    _large(mixed, large, 6 * 2**20)
    receiver = scripted(max_pdu=1 << 17)
    grown = threading.Event()
    original = receiver._pdu

    def pdu(talk):
        kind, body = original(talk)
        if len(body) > 100_000 and not grown.is_set():
            grown.set()
            with large.open("ab") as file:
                file.write(b"more")
        return kind, body

    receiver._pdu = pdu
    done = deliver(folder, receiver.port, workers=1)
    assert done.error is not None
    assert done.error.exit_code == 5
    assert done.outcomes["large"] == "changed"
    assert "abort by peer" in receiver.endings(), "a part of it was out"
    assert receiver.digests == expected


class TestContract(ReceiverTransportContract):
    """The published suite, with a receiver instead of an import service."""

    @pytest.fixture(autouse=True)
    def there(self, scripted, options):
        self.receiver = scripted()
        self.options = options(self.receiver.port)

    def make(self, context):
        return CStoreTransport(context)

    def content(self, item):
        """C-STORE carries the data set alone, and the receiver keeps digests."""
        whole = super().content(item)
        return hashlib.sha256(whole[offset_of(whole) :]).hexdigest().encode()

    def arrived(self, directory):
        """A receiver keeps one copy of an instance; this one lists every request."""
        kept = {entry.sop_instance: entry.digest for entry in self.receiver.stored}
        return {f"{uid}.dcm": [digest.encode()] for uid, digest in kept.items()}

    def test_what_it_sends_arrives_and_is_counted(self, tmp_path):
        items, told = self.items(tmp_path), []
        transport = self.make(make_receiver_context(options=self.options, items=items))
        for batch in transport.batches(items, 2):
            assert {str(outcome.outcome) for outcome in transport.send(batch, told.append)} == {"accepted"}
        transport.rest()
        assert set(self.receiver.digests) == {item.sop_instance_uid for item in items}
        assert sum(event.data["bytes"] for event in told) > 0


def test_a_single_file_is_a_path(scripted, deliver, mixed, tmp_path):
    expected = mixed.write(tmp_path / "exam", 1)
    (path,) = (tmp_path / "exam").iterdir()
    assert len(scan_path(str(path)).items) == 1
    receiver = scripted()
    assert deliver(path, receiver.port).error is None
    assert receiver.digests == expected
