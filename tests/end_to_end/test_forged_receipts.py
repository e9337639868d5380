"""Receipts that somebody wrote by hand: their hashes are right, and their members are not."""

from __future__ import annotations

import copy
import json

import pytest

from xnatctl.testing.exam import write_exam
from xnatctl_receipt.chain import read_chain, write_chain

pytestmark = pytest.mark.once

FORGERIES = {
    "no status": lambda header, entries: header.pop("status"),
    "no destination": lambda header, entries: header.pop("destination"),
    "a destination that is a number": lambda header, entries: header.update(destination=7),
    "no server": lambda header, entries: header["destination"].pop("server"),
    "no series": lambda header, entries: header.update(series=[]),
    "no resources": lambda header, entries: header.pop("resources"),
    "a size that is text": lambda header, entries: entries[0].update(bytes="x"),
    "a series that is not there": lambda header, entries: entries[0].update(series=99),
    "nothing about sending": lambda header, entries: entries[0].pop("sent"),
    "no digest": lambda header, entries: entries[0].pop("sha256"),
    "a tail that is text": lambda header, entries: entries[0].update(tail="x"),
    "no transfer syntax": lambda header, entries: header["series"][0].pop("transfer_syntax_uid"),
    "a resource without address": lambda header, entries: header["resources"].append({"title": "NOTES"}),
    "no instance": lambda header, entries: entries[0].pop("sop_instance_uid"),
}


def test_they_are_reported_as_changed(xnatctl, alice, tmp_path):
    write_exam(tmp_path / "exam", series=1, instances=2, seed=1, clutter=False)
    path = tmp_path / "r.json"
    names = ("-P", "DEMO", "-S", "s", "-E", "e", "--receipt", path)
    assert xnatctl("session", "upload", tmp_path / "exam", *names, env=alice).code == 0
    honest = read_chain(path.read_bytes())
    for name, forge in FORGERIES.items():
        header = copy.deepcopy(dict(honest.header))
        entries = [json.loads(json.dumps({**entry})) for entry in honest.entries]
        forge(header, entries)
        path.write_bytes(write_chain(header, [{k: v for k, v in one.items() if k != "hash"} for one in entries])[0])
        done = xnatctl("receipt", "verify", path, tmp_path / "exam", "-o", "json", env=alice)
        assert done.code == 6, (name, done.err)
        assert [one["where"] for one in done.document["problems"]] == ["receipt"], name
        assert not (tmp_path / "home" / "state" / "xnatctl" / "crash.txt").exists(), name
