"""Every change of a receipt is found."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from xnatctl.api import UsageError
from xnatctl_receipt.chain import next_hash, plain_json, read_chain, write_chain
from xnatctl_receipt.file import parse_receipt
from xnatctl_receipt.page import page_of

HEADER = {
    "command": "session upload",
    "status": "partial",
    "exit_code": 5,
    "asked": {"command": "session upload", "server": "http://x", "resource": ""},
    "destination": {
        "server": "http://x",
        "project": "P",
        "subject": "S",
        "session": "E",
        "state": "archived",
        "uri": None,
    },
    "user": "alice",
    "transport": "tar",
    "started": "2026-01-01T10:00:00+00:00",
    "ended": "2026-01-01T10:00:05+00:00",
    "xnatctl": "0",
    "plugins": [],
    "counts": {"found": 3, "excluded": 1, "sent": 2, "skipped": 0, "failed": 1, "verified": 2},
    "not_readable": 0,
    "verification": {"ok": False, "level": "size", "differences": [], "extra": [{"kind": "extra", "found": 2}]},
    "series": [
        {
            "series_instance_uid": "1.2",
            "series_number": "1",
            "modality": "M</script>",
            "expected": 3,
            "found": 2,
            "bytes": 9,
        }
    ],
    "resources": [],
    "skipped": [{"reason": "not DICOM", "files": 1}],
    "error": {"code": "delivery_incomplete"},
    "earlier": [],
    "entries": 3,
}
ENTRIES = [
    {"n": number, "kind": "instance", "sop_instance_uid": f"1.2.{number}", "bytes": 3, "outcome": "verified"}
    for number in (1, 2, 3)
]


def receipt(header=HEADER, entries=ENTRIES):
    return write_chain(header, entries)[0]


def page():
    data, head = write_chain(HEADER, ENTRIES)
    return page_of(data, HEADER, [{**ENTRIES[2], "outcome": "missing", "path": "a\udcff\x00<b>&"}], head)


def is_found(data: bytes) -> bool:
    try:
        return bool(parse_receipt(Path("r"), data).problems)
    except UsageError:
        return True


def test_it_is_read_as_it_was_written():
    found = read_chain(receipt())
    assert (found.header, found.entries, found.problems) == (HEADER, ENTRIES, [])
    document = json.loads(receipt())
    assert document["schema"] == "xnatctl.receipt/1"
    assert document["head"] == document["entries"][-1]["hash"] == found.head


def test_a_receipt_without_files():
    found = read_chain(receipt({**HEADER, "entries": 0}, []))
    assert (found.entries, found.problems) == ([], [])


@pytest.mark.parametrize("make", [receipt, pytest.param(page, marks=pytest.mark.lab)])
def test_each_byte_counts(make):
    data = make()
    assert not is_found(data)
    for place in range(len(data)):
        before, byte, after = data[:place], data[place], data[place + 1 :]
        for changed in (bytes([byte ^ 1]), b"", bytes([byte, byte]), bytes([byte]) + b" "):
            assert is_found(before + changed + after), (place, changed)


def test_each_byte_of_the_page_counts():
    data = page()
    assert all(is_found(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]) for place in range(len(data)))


@pytest.mark.parametrize("make", [receipt, page])
def test_what_is_cut_off_is_found(make):
    data = make()
    assert all(is_found(data[:size]) for size in range(len(data)))


def test_the_message_names_the_entry():
    data = receipt().replace(b'"1.2.2"', b'"1.2.9"')
    assert read_chain(data).problems == ["Entry 2 was changed, or does not follow the one before it."]


def test_two_receipts_spliced():
    other = receipt({**HEADER, "user": "bob"}, [{**entry, "bytes": 4} for entry in ENTRIES])
    lines, others = receipt().split(b"\n"), other.split(b"\n")
    for place in range(1, len(lines) - 1):
        assert is_found(b"\n".join(lines[:place] + others[place:])) or place <= 1


def test_entries_taken_out_and_swapped():
    lines = receipt().split(b"\n")
    for change in ([3, 4], [4, 5], [3, 5], [4, 3, 5]):
        kept = [lines[number].removesuffix(b",") for number in change]
        body = b",\n".join(kept)
        assert is_found(b"\n".join([*lines[:3], body, *lines[6:]]))


def test_the_documented_way_to_compute_the_hashes():
    last = ""
    for line in receipt().split(b"\n"):
        if line.startswith(b'"header":'):
            import hashlib

            last = hashlib.sha256(line[len(b'"header":') : -1]).hexdigest()
        elif line.startswith(b'{"n":'):
            body, _, stated = line.rstrip(b",").rpartition(b',"hash":')
            last = next_hash(last, body + b"}")
            assert stated == b'"%s"}' % last.encode()
    assert read_chain(receipt()).head == last


def test_texts_are_ascii_and_end_no_script():
    line = plain_json({"text": "</script><!-- é \udcff \n"})
    assert line.isascii()
    assert b"<" not in line
    assert b"\n" not in line
    assert json.loads(line) == {"text": "</script><!-- é \udcff \n"}


@pytest.mark.parametrize("data", [b"", b"{}", b"PK\x03\x04", b"<!DOCTYPE html><html></html>", b'{"schema":"other/1"}'])
def test_what_is_no_receipt(data):
    with pytest.raises(UsageError, match="is not a receipt of xnatctl"):
        parse_receipt(Path("r"), data)


def test_a_later_version_is_named():
    with pytest.raises(UsageError, match="version 2"):
        parse_receipt(Path("r"), b'{"schema":"xnatctl.receipt/2",\n')


def test_the_page_is_well_formed_and_needs_nothing_else():
    data = page()
    text = data.decode("ascii")
    root = ET.fromstring(text)
    assert root.tag == "html"
    assert root.find(".//script").text.strip().encode() + b"\n" == receipt()
    assert not {"href", "src", "xlink:href"} & {name for one in root.iter() for name in one.attrib}
    assert "url(" not in text
    assert "@import" not in text
    shown = " ".join(root.find("body").itertext())
    assert "Not complete. 2 of 3 files found on the server." in " ".join(shown.split())
    assert "a\ufffd\ufffd<b>&" in shown
    bars = [one for one in root.iter() if one.tag.endswith("}rect")]
    assert [bar.get("class") for bar in bars] == ["found less", "expected less"]
    assert float(bars[0].get("width")) < float(bars[1].get("width"))


def test_bars_of_files_that_were_not_compared_are_not_those_of_files_that_were_found():
    header = {**HEADER, "verification": {**HEADER["verification"], "ok": None}, "not_readable": 1}
    header["series"] = [{**HEADER["series"][0], "found": 3}]
    data, head = write_chain(header, ENTRIES)
    root = ET.fromstring(page_of(data, header, [{"n": 4, "kind": "file", "outcome": "invalid"}], head).decode("ascii"))
    bars = [one.get("class") for one in root.iter() if one.tag.endswith("}rect")]
    assert bars == ["found accepted", "expected accepted", "expected less"]
    shown = " ".join(" ".join(root.find("body").itertext()).split())
    assert "3 of 3 accepted, not compared" in shown
    assert "found on the server" not in shown
    assert shown.count("not readable: 1") == 3
    assert "Run with --receipt-paths to name files." in shown


@pytest.mark.parametrize(
    ("server", "uri", "links"),
    [
        ("https://x/xnat", "/data/experiments/XNAT_E1", ["https://x/xnat/data/experiments/XNAT_E1?format=html"]),
        ("https://x", "/data/prearchive/projects/P/1/E", []),
        ("javascript:alert(1)//", "/data/experiments/XNAT_E1", []),
    ],
)
def test_the_address_of_an_archived_session_is_a_link(server, uri, links):
    header = {**HEADER, "destination": {**HEADER["destination"], "server": server, "uri": uri}}
    data, head = write_chain(header, ENTRIES)
    root = ET.fromstring(page_of(data, header, [], head).decode("ascii"))
    assert [one.get("href") for one in root.iter("a")] == links


def test_a_page_that_says_something_else_is_found():
    data = page()
    assert is_found(data.replace(b"Not complete.", b"Complete."))
    assert is_found(data.replace(b'class="status partial"', b'class="status complete"'))
