"""Session transports that send by `http`: core checks the paths that they ask for and the places that they name."""

from __future__ import annotations

import pytest

from xnatctl.testing import write_exam

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e", "--mode", "own")
#: Sends each file by a request of its own; what it names as the place is the value of NAMED.
OWN = """
from xnatctl.api import *
from xnatctl.api.packing import plain_body

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="own", summary="by http", target="dist_own_own:Own")]

class Own:
    def __init__(self, context):
        self.context = context
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
    def describe(self):
        DESCRIBE
        return {"way": "http"}
    def batches(self, items, workers):
        return cut_batches(items, workers, max_files=1)
    def send(self, batch, emit):
        (item,) = batch.items
        http, query = self.context.http, self.context.importer.parameters("gradual-DICOM") | {"inbody": "true"}
        BEFORE
        body = plain_body(item, self.context.open_item)
        answer = http.post("/data/services/import", params=query, body=body, content_type="application/dicom")
        (place,) = answer.lines()
        return BatchResult(outcomes=(ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri=NAMED),)URIS)
    def close(self):
        pass
"""


def own(*, named="place", uris="", before="pass", describe="pass"):
    return OWN.replace("NAMED", named).replace("URIS", uris).replace("BEFORE", before).replace("DESCRIBE", describe)


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=3, seed=5, clutter=False)


@pytest.fixture
def upload(xnatctl, alice, install, exam):
    def run(*more, **parts):
        env = {**alice, **install("own", own(**parts))}
        return xnatctl("session", "upload", exam.directory, *UPLOAD, *more, "-o", "json", env=env)

    return run


@pytest.mark.parametrize(
    ("named", "uris", "more", "place"),
    [
        ("place", "", (), "archive"),
        ("place", "", ("--prearchive",), "prearchive"),
        ("None", ", uris=(place,)", (), "archive"),
    ],
)
def test_what_it_delivers_is_settled_and_verified(upload, sandbox, exam, assert_exactly, named, uris, more, place):
    done = upload(*more, named=named, uris=uris)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place=place, label="e")
    assert done.document["verification"]["ok"]


def test_a_place_that_nobody_named_is_not_taken_for_the_archive(upload, sandbox):
    done = upload("--prearchive", named="None")
    assert done.code == 6, done.err
    assert "own did not say where the server has the files" in done.err


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("'/data/prearchive/projects/DEMO/20200101_000000000/e'", "a prearchive session that the server does not have"),
        ("'/data/prearchive/projects/OTHER/20200101_000000000/e'", "the server filed it under project OTHER"),
        ("'https://elsewhere.example/data'", "names no session"),
        ("'/xapi/direct-archive/DEMO/1.2.3/e'", "the transport names another session"),
        ("42", "names no session"),
    ],
)
def test_a_place_that_is_not_the_session_stops_the_run(upload, sandbox, stored, named, said):
    done = upload(named=named)
    assert done.code == 5, done.err
    assert said in done.err
    assert not [copy for copies in stored(sandbox).values() for copy in copies if copy["place"] == "archive"]


def test_the_session_of_somebody_else_is_not_archived(upload, sandbox, stored, xnatctl, alice, tmp_path):
    """In the same project and prearchive, of another study."""
    other = write_exam(tmp_path / "other", series=1, instances=2, seed=6, clutter=False)
    names = ("-P", "DEMO", "-S", "s", "-E", "theirs", "--prearchive", "-o", "json")
    theirs = xnatctl("session", "upload", other.directory, *names, env=alice).document["destination"]["uri"]
    done = upload(named=repr(theirs))
    assert done.code == 5, done.err
    assert "another session of the prearchive" in done.err
    copies = [copy for uid in other.instances for copy in stored(sandbox)[uid]]
    assert {copy["place"] for copy in copies} == {"prearchive"}


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:9/data/projects",
        "//elsewhere.example/data/projects",
        "/data/../xapi/users",
        "/data/projects?format=json",
        "/data/%2e%2e/secret",
        "/data/JSESSION",
        "/data/services/tokens/issue",
        "/app/template/Index.vm",
        "data/projects",
    ],
)
def test_paths_that_are_not_those_of_the_server_are_refused_and_name_the_plugin(upload, sandbox, path):
    done = upload(before=f"http.get({path!r})")
    assert done.code in (5, 8), done.err
    assert "own" in done.err
    assert "path" in done.err
    assert not sandbox.instances()


def test_nothing_can_be_asked_while_a_plan_is_described(upload, sandbox):
    done = upload("--dry-run", describe="self.context.http.get('/data/projects')")
    assert done.code == 8
    assert "this context has no get" in done.document["error"]["message"]
    assert sandbox.requests == []


def test_a_place_is_checked_before_it_is_recorded(upload, sandbox):
    """Also where the transport reports an item before its batch is done."""
    early = "ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED, uri='/data/prearchive/projects/DEMO/2020/e')"
    done = upload(before=f"self.context.report({early})")
    assert done.code == 5, done.err
    assert "a prearchive session that the server does not have" in done.err
    assert not done.document["counts"]["sent"]
