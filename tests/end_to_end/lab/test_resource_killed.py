"""kill -9 at every journal write of a resource upload, then the same command: all there, once, nothing an orphan."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request

import pytest

pytestmark = [pytest.mark.once, pytest.mark.lab]


@pytest.fixture
def files(tmp_path):
    """Thirty files, some of them large enough to travel alone."""
    root = tmp_path / "files"
    for number in range(30):
        path = root / f"part {number % 4}" / f"{number} [x].txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number}\n".encode() * (20_000 if number % 10 == 0 else number))
    return root


@pytest.fixture
def session(sandbox):
    def call(method, path):
        login = base64.b64encode(b"alice:alice").decode()
        request = urllib.request.Request(sandbox.url + path, method=method, headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    name = call("PUT", "/data/projects/DEMO/subjects/s/experiments/e?xsiType=xnat:mrSessionData")
    call.listed = lambda: {
        row["URI"].partition("/files/")[2]
        for row in json.loads(call("GET", f"/data/experiments/{name}/resources/R/files?format=json"))["ResultSet"][
            "Result"
        ]
    }
    call.forget = lambda: call("DELETE", f"/data/experiments/{name}/resources/R")
    return call


@pytest.mark.timeout(1800)
def test_killed_at_each_journal_write(lab, spread, session, files, sandbox):
    lab.arguments = ("resource", "upload", "e", "R", str(files), "-P", "DEMO", "-o", "json")
    points = [(number, when) for number in range(1, lab.writes() + 1) for when in ("before", "after")]
    assert len(points) >= 8
    expected = {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    for point, when in spread(points, 4):
        session.forget()
        shutil.rmtree(lab.home / "state", ignore_errors=True)
        lab.crash(point, when)
        before = len(sandbox.requests)
        code, report = lab.run()
        assert code == 0, (point, when, lab.log)
        assert report["counts"]["verified"] == len(expected)
        assert report["counts"]["found"] == report["counts"]["sent"] + report["counts"]["skipped"]
        sent = [r for r in sandbox.requests[before:] if r["method"] == "PUT" and "/files/" in r["path"]]
        assert len(sent) <= 1, "one batch, and it is sent again only when its outcome is in doubt"
        (folder,) = [path for path in (sandbox.directory / "archive").rglob("R") if path.is_dir()]
        stored = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        assert stored == expected
        assert session.listed() == set(expected)
