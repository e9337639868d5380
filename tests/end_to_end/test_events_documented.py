"""The data of each event is what the reference of the API says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xnatctl.testing import write_exam

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
OBSERVER = (
    "import json, os\nfrom xnatctl.api import hookimpl\n"
    "@hookimpl\ndef xnatctl_on_event(event):\n"
    "    with open(os.environ['EVENTS'], 'a') as out:\n"
    "        out.write(json.dumps([event.kind.name, dict(event.data)]) + '\\n')\n"
)
TYPES = {"int": int, "str": str, "bool": bool, "float": (int, float), "str or None": (str, type(None))}


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, str]]:
    """Kind -> key of `data` -> type; the key of what may be missing ends with `?`."""
    section = re.search(r"^#### EventKind\n(.*?)^#### ", REFERENCE.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    found = {}
    for row in re.findall(r"^\| `([A-Z_]+)` \|(.*)\|$", section[1], re.MULTILINE):
        found[row[0]] = dict(re.findall(r"`(\w+\??): ([\w ]+)`", row[1]))
    return found


def test_every_event_has_the_data_that_is_documented(
    xnatctl, hasty, sandbox, alice, exam, install, tmp_path, documented
):
    events = tmp_path / "events"
    env = {**alice, **install("observer", OBSERVER), "EVENTS": str(events)}
    files = tmp_path / "files"
    files.mkdir()
    (files / "notes.txt").write_text("notes")
    upload = ("session", "upload", exam.directory, "-P", "DEMO", "-S", "s", "-E", "e")
    sandbox.faults.load([{"match": {"path": "services/import"}, "nth": [2], "action": "status", "status": 503}])
    assert hasty(*upload, env=env).code == 0
    assert xnatctl(*upload, env=env).code == 0
    assert xnatctl("resource", "upload", "-P", "DEMO", "e", "NOTES", files, env=env).code == 0
    write_exam(tmp_path / "large", series=1, instances=3, rows=1024, columns=1024, clutter=False)
    large = ("session", "upload", tmp_path / "large", "-P", "DEMO", "-S", "s", "-E", "large", "--compress", "never")
    assert xnatctl(*large, env=env).code == 0
    seen = set()
    for line in events.read_text().splitlines():
        kind, data = json.loads(line)
        seen.add(kind)
        known = {key.rstrip("?"): TYPES[value] for key, value in documented[kind].items()}
        needed = {key for key in documented[kind] if not key.endswith("?")}
        assert needed <= set(data) <= set(known), line
        for key, value in data.items():
            assert isinstance(value, known[key]), line
            assert known[key] in (bool, int) or not isinstance(value, bool), line
    assert seen == set(documented), "every kind was met"
