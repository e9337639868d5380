"""An export of three studies, and the command that uploads each as a session."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from studies import NAMES, VISITS, write_study


@pytest.fixture
def visits(tmp_path):
    """Three studies; `.studies` in the order of time."""
    root = tmp_path / "export"
    studies = [write_study(root / name, seed, date) for name, (seed, date) in VISITS.items()]
    return SimpleNamespace(directory=root, studies=studies)


@pytest.fixture
def split(xnatctl, visits, alice):
    """`session upload --split-studies -o json` of the visits."""

    def run(*more, path=None, env=None, output=("-o", "json"), command=xnatctl):
        arguments = ("session", "upload", path or visits.directory, *NAMES, "--split-studies", *more, *output)
        return command(*arguments, env=alice if env is None else env)

    return run


@pytest.fixture
def assert_sessions():
    """The disk of the server holds exactly these sessions: label -> study, byte for byte, each instance once."""

    def check(sandbox, expected, *, place="archive"):
        found: dict[str, dict[str, str]] = {}
        for entry in sandbox.instances():
            assert entry["place"] == place
            assert entry["catalogued"]
            session = found.setdefault(entry["session"], {})
            assert entry["sop_instance_uid"] not in session
            session[entry["sop_instance_uid"]] = entry["sha256"]
        assert found == {label: study.digests for label, study in expected.items()}

    return check
