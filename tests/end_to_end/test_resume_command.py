"""`upload resume`: what it sends where, with whose credentials, and what it refuses to call the same upload."""

from __future__ import annotations

import pytest

from xnatctl.testing.exam import write_exam
from xnatctl_sandbox.server import Sandbox

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"path": "services/import"}


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=3, seed=5, clutter=False)


@pytest.fixture
def interrupted(xnatctl, alice, exam, sandbox):
    """An upload of which the server took a part; the ID of its journal."""
    sandbox.faults.load([{"match": IMPORT, "nth": list(range(3, 99)), "action": "status", "status": 403}])
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--mode", "gradual", "-o", "json", env=alice)
    assert done.code in (3, 5), done.err
    sandbox.faults.load([])
    (row,) = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert 0 < row["missing"] < 6
    return row["id"]


def test_credentials_of_the_variables_go_to_their_own_server_alone(
    xnatctl, alice, exam, sandbox, interrupted, home, tmp_path, assert_exactly
):
    def logins(server):
        return [request for request in server.requests if request["path"].endswith("/data/JSESSION")]

    with Sandbox(tmp_path / "other") as other:
        before = len(logins(sandbox))
        done = xnatctl("upload", "resume", interrupted, "-o", "json", env={**alice, "XNAT_URL": other.url})
        assert done.code == 3
        assert "XNAT_USER and XNAT_PASS are for another one (XNAT_URL) and not used" in done.err
        assert "XNAT_URL" in done.document["error"]["hint"]
        assert len(logins(sandbox)) == before, "the password of another server reached this one"
        assert logins(other) == []

        config = home / "config" / "xnatctl" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"profiles:\n  site: {{url: '{sandbox.url}', username: alice, password: alice}}\n")
        config.chmod(0o600)
        assert xnatctl("config", "set-profile", "site", "--url", other.url).code == 0
        done = xnatctl("upload", "resume", interrupted, "-o", "json")
        assert done.code == 3, "the profile names another server now, and its password goes with it"
        assert len(logins(sandbox)) == before

        named = ("upload", "resume", interrupted, "--username", "alice", "--password-stdin", "-o", "json")
        done = xnatctl(*named, env={**alice, "XNAT_URL": other.url}, stdin="alice\n")
        assert done.code == 0, done.err
        assert other.instances() == []
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
