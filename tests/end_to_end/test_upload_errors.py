"""Each foreseeable trouble: one clear message, the exit code of the table, and with -o json exactly one document."""

from __future__ import annotations

import shutil
import socket

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from xnatctl.model.refs import clean_label


@pytest.fixture
def upload(xnatctl, exam, alice):
    """`session upload` of the exam in JSON and for people; returns both."""

    def run(*more, path=None, project="DEMO", env=None, json=True, command=xnatctl):
        arguments = ["session", "upload", path or exam.directory, "-P", project, "-S", "s", "-E", "e", *more]
        if json:
            arguments += ["-o", "json"]
        return command(*arguments, env={**alice, **(env or {})})

    return run


def explained(done, code, *words):
    """The command ended as it should, and said these words; never with a traceback."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    error = done.document["error"]
    assert error["exit_code"] == code
    said = f"{error['message']} {error['hint']}"
    for word in words:
        assert word in said, said
    assert error["message"] in done.err
    assert done.err.count(error["message"]) == 1
    return done.document


def test_wrong_password(upload, sandbox):
    explained(upload(env={"XNAT_PASS": "wrong"}), 3, "alice", sandbox.url)
    tries = [r for r in sandbox.requests if r["status"] == 401]
    assert len(tries) == 1, "a rejected password is never tried again: 20 failures lock the account"


def test_unknown_project(upload):
    explained(upload(project="NOWHERE"), 2, "NOWHERE", "project")


def test_unreadable_project_is_like_an_unknown_one(upload):
    explained(upload(project="PRIVATE"), 2, "PRIVATE")


def test_read_only_project(upload, sandbox):
    explained(upload(env={"XNAT_USER": "bob", "XNAT_PASS": "bob"}), 3, "bob", "DEMO")
    assert sandbox.instances() == []


def test_no_such_host(upload):
    explained(upload(env={"XNAT_URL": "http://no-such-host.invalid"}), 4, "no-such-host.invalid")


def test_refused_port(upload):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        explained(upload(env={"XNAT_URL": f"http://127.0.0.1:{port}"}), 4, str(port))


def test_html_login_page(upload, httpserver: HTTPServer):
    httpserver.expect_request("/", method="GET").respond_with_data("")
    httpserver.expect_request("/data/JSESSION").respond_with_data(
        "<!DOCTYPE html><html><body>Please log in</body></html>", content_type="text/html"
    )
    explained(upload(env={"XNAT_URL": httpserver.url_for("")}), 4, "HTML")


def proxy_before(sandbox, httpserver: HTTPServer, refuse):
    """A reverse proxy of a few lines that passes on all but what `refuse` answers."""
    import http.client
    from urllib.parse import urlsplit

    target = urlsplit(sandbox.url)

    def forward(request: Request) -> Response:
        body = request.get_data()
        if (answer := refuse(request, body)) is not None:
            return answer
        connection = http.client.HTTPConnection(target.hostname, target.port)
        path = request.environ["RAW_URI"] if "RAW_URI" in request.environ else request.full_path.rstrip("?")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        connection.request(request.method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        kept = [
            (k, v)
            for k, v in answer.getheaders()
            if k.lower() not in ("connection", "transfer-encoding", "server", "date")
        ]
        connection.close()
        return Response(data, answer.status, kept)

    httpserver.expect_request(lambda_path()).respond_with_handler(forward)


def lambda_path():
    import re

    return re.compile(".*")


def test_413_from_a_proxy(upload, sandbox, httpserver):
    page = "<html><head><title>413 Request Entity Too Large</title></head></html>"

    def refuse(request, body):
        return Response(page, 413, content_type="text/html") if len(body) > 100 else None

    proxy_before(sandbox, httpserver, refuse)
    explained(upload("--workers", "1", env={"XNAT_URL": httpserver.url_for("")}), 4, "413", "client_max_body_size")
    assert sandbox.instances() == []


def test_413_for_large_bodies_only_is_met_with_smaller_ones(upload, sandbox, httpserver, exam, assert_exactly):
    limit = 40 * max(record.size for record in exam.instances.values())
    refused = []

    def refuse(request, body):
        if len(body) > limit:
            refused.append(len(body))
            return Response("<html>too large</html>", 413, content_type="text/html")
        return None

    proxy_before(sandbox, httpserver, refuse)
    done = upload("--workers", "1", "--compress", "never", env={"XNAT_URL": httpserver.url_for("")})
    assert done.code == 0, done.err
    assert refused
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_504_from_a_proxy_that_never_recovers(upload, hasty, sandbox, httpserver):
    def refuse(request, body):
        return Response("<html>504 Gateway Time-out</html>", 504, content_type="text/html") if body else None

    proxy_before(sandbox, httpserver, refuse)
    done = upload("--workers", "1", env={"XNAT_URL": httpserver.url_for("")}, command=hasty)
    explained(done, 4, "504")


def test_504_once_after_the_work_was_done(upload, hasty, sandbox, exam, assert_exactly):
    sandbox.faults.load(
        [{"match": {"path": "/data/services/import"}, "nth": 2, "action": "store-then-status", "status": 504}]
    )
    done = upload("--workers", "4", command=hasty)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


def test_empty_directory(upload, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    explained(upload(path=empty), 2, "empty")


def test_missing_path(upload, tmp_path):
    explained(upload(path=tmp_path / "nothing-here"), 2, "nothing-here")


def test_directory_without_dicom(upload, tmp_path):
    directory = tmp_path / "texts"
    directory.mkdir()
    (directory / "scan.dcm").write_text("not an image")
    explained(upload(path=directory), 2, "No DICOM", "texts")


def test_a_path_that_is_not_there(upload, tmp_path):
    (tmp_path / "exam").mkdir()
    assert explained(upload(path=tmp_path / "exams"), 2, "No such file")["error"]["hint"] == (
        f"Did you mean {tmp_path / 'exam'}?"
    )
    assert "spelling" in explained(upload(path=tmp_path / "nowhere" / "exam"), 2, "No such file")["error"]["hint"]


def test_two_studies_in_one_directory(upload, tmp_path, exam):
    from xnatctl.testing.exam import write_exam

    both = tmp_path / "both"
    shutil.copytree(exam.directory, both / "one", symlinks=True)
    write_exam(both / "two", series=1, instances=3, seed=8, clutter=False)
    document = explained(upload(path=both), 7, "2 studies", "one", "two")
    assert document["status"] == "refused"


@pytest.mark.parametrize("label", ["has space", "dot.ted", "käse", "b c/d", "50%", "a;b", "c\\d"])
@pytest.mark.parametrize("flag", ["-E", "-S"])
def test_a_label_that_xnat_would_change_is_refused_with_what_it_would_make_of_it(xnatctl, alice, exam, flag, label):
    names = {"-P": "DEMO", "-S": "s", "-E": "e", flag: label}
    given = [word for pair in names.items() for word in pair]
    done = xnatctl("session", "upload", exam.directory, *given, "-o", "json", env=alice)
    document = explained(done, 7, repr(label))
    assert {"-E": "session", "-S": "subject"}[flag] in document["error"]["message"]
    assert clean_label(label) in document["error"]["hint"]


def test_usage_errors_are_documents_too(xnatctl, alice):
    done = xnatctl("session", "upload", "-o", "json", env=alice)
    assert done.code == 2
    assert done.document["error"]["code"] == "usage"


def test_a_filtered_series_is_named(upload, sandbox, exam):
    sandbox.state.projects["DEMO"].series_filter = (".*",)
    document = explained(upload(), 6, "filter")
    assert document["counts"]["sent"] == 0
    assert {item["outcome"] for item in document["items"]} == {"filtered"}
