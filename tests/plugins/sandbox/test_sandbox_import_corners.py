"""Corners of the import service (xnat-import 1 to 5, 8) that clients run into."""

from __future__ import annotations

import json

import pytest

ZIP = "application/zip"


@pytest.fixture
def records(exam):
    return list(exam.instances.values())


@pytest.fixture
def post(http_call):
    def send(body=None, kind=ZIP, user="alice", suffix="", **query):
        kind = None if "src" in query else kind
        parameters = {"import-handler": "DICOM-zip", "PROJECT_ID": "DEMO", "SUBJECT_ID": "s", "EXPT_LABEL": "e"}
        parameters |= {key.replace("__", "-"): value for key, value in query.items()}
        parameters = {key: value for key, value in parameters.items() if value is not None}
        return http_call("POST", f"/data/services/import{suffix}", user=user, query=parameters, body=body, kind=kind)

    return send


def multipart(name, filename, data):
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'.encode()
    return head + data + b"\r\n--limit--\r\n"


# the body, 1.3


def test_no_file(post, http_call):
    assert "Unable to identify upload format." in post(kind="chemical/x-pdb", body=b"x").text
    assert http_call("POST", "/data/services/import", body=b"x", kind="chemical/x-pdb").status == 500, "and no handler"
    chunked = {"Transfer-Encoding": "chunked"}
    query = {"import-handler": "DICOM-zip", "inbody": "true"}
    answer = http_call("POST", "/data/services/import", query=query, body=iter([b"x"]), headers=chunked, chunked=True)
    assert answer.status == 500, "unknown size and no type at all"


def test_multipart(post, bundle, records, sandbox):
    kind = "multipart/form-data; boundary=limit"
    assert post(multipart("file", "c:\\\\x\\\\up.zip", bundle(records)), kind).status == 200
    assert len(sandbox.instances()) == len(records)
    assert post(multipart("reference", "up.zip", b"x"), kind).status == 400


def test_the_url_can_name_the_file(post, bundle, records):
    assert post(bundle(records, "tgz"), "application/octet-stream", suffix="/batch%2007.tar.gz").status == 200
    assert "Unsupported format UNKNOWN" in post(bundle(records), "application/octet-stream").text


def test_get_is_405(http_call):
    assert http_call("GET", "/data/services/import").status == 405


def test_from_the_users_cache(post, http_call, bundle, records, sandbox):
    path = "/data/user/cache/resources/stage/files/up.zip"
    assert http_call("PUT", path, query={"inbody": "true"}, body=bundle(records), kind=ZIP).status == 200
    assert post(src="/nonsense").status == 400
    assert post(src="/user/cache/resources/stage/files/none.zip").status == 404
    assert post(src="/user/cache/resources/stage/files/up.zip", user="bob").status == 404, "it is private"
    refused = post(src="/user/cache/resources/stage/files/up.zip", inbody="true")
    assert refused.status == 400, "the body is looked for before src, and there is none (1.2, 1.3)"
    assert not sandbox.instances()
    assert post(src="/user/cache/resources/stage/files/up.zip").text.startswith("/data/prearchive/projects/DEMO/")
    assert len(sandbox.instances()) == len(records)
    assert http_call("DELETE", path).status == 200
    assert http_call("GET", path).status == 404


# parameters, 1.4, 1.5


def test_prearchive_code_and_overwrite_together_are_refused(post, bundle, records):
    assert post(bundle(records), prearchive_code="1", overwrite="append").status == 400
    assert post(bundle(records), prearchive_code="1").status == 200


def test_dest_does_not_tolerate_unparsable_files_and_action_does(post, import_, records):
    junk = {"junk.txt": b"no DICOM " * 50}
    assert import_(records[:2], extra=junk, dest="/prearchive").status == 400
    assert import_(records[:2], extra=junk, EXPT_LABEL="f", action="commit").status == 200


@pytest.mark.parametrize(
    ("dest", "uri"),
    [
        ("/archive", "/data/archive/projects/DEMO/subjects/s/experiments/e"),
        ("/data/archive/projects/MANUAL/subjects/t/experiments/f", "/data/archive/projects/MANUAL/subjects/t/experiments/f"),
        ("/archive/projects/MANUAL/experiments/f", "/data/archive/projects/MANUAL/subjects/s/experiments/f"),
        ("/archive/subjects/t", "/data/archive/projects/DEMO/subjects/t/experiments/e"),
    ],
)  # fmt: skip
def test_dest_fills_in_and_archives(post, bundle, records, dest, uri):
    assert post(bundle(records), dest=dest).text == f"{uri}\r\n"


def test_explicit_names_win_over_dest(post, bundle, records):
    answer = post(
        bundle(records), dest="/archive/projects/MANUAL/subjects/t/experiments/f", project="DEMO", session="g"
    )
    assert answer.text == "/data/archive/projects/DEMO/subjects/t/experiments/g\r\n"


def test_dest_can_name_an_existing_session(post, bundle, records, http_call):
    post(bundle(records[:4]), dest="/archive")
    answer = post(bundle(records[4:]), dest="/archive/experiments/XNAT_E00001", EXPT_LABEL=None, overwrite="append")
    assert answer.text.endswith("/experiments/e\r\n")
    assert len(http_call("GET", "/data/experiments/XNAT_E00001/scans/ALL/files").rows) == 8


def test_dest_into_the_prearchive_builds(post, bundle, records, sandbox):
    answer = post(bundle(records), dest="/prearchive/projects/MANUAL/20240101_120000000/folder")
    assert answer.text == "/data/prearchive/projects/MANUAL/20240101_120000000/folder\r\n"
    (row,) = sandbox.state.prearchive
    assert (row.status, row.name) == ("READY", "e")


def test_another_study_in_the_same_prearchive_folder(post, bundle, records, sandbox, tmp_path):
    from xnatctl.testing import write_exam

    dest = "/prearchive/projects/DEMO/20240101_120000000/folder"
    other = list(write_exam(tmp_path / "o", series=1, instances=1, seed=9, clutter=False).instances.values())
    post(bundle(records), dest=dest)
    assert post(bundle(other), dest=dest).status == 400
    sandbox.state.version = "1.8.9"
    assert post(bundle(other), dest=dest).text.endswith("/folder_1\r\n")


def test_gradual_takes_the_project_of_dest_and_commits_nothing(post, records, sandbox):
    body = records[0].path.read_bytes()
    dest = "/archive/projects/MANUAL/subjects/x/experiments/y"
    answer = post(body, "application/dicom", import__handler="gradual-DICOM", dest=dest, PROJECT_ID=None)
    assert answer.text.startswith("/data/prearchive/projects/MANUAL/")
    assert sandbox.state.prearchive[0].status == "RECEIVING"


def test_visit_and_subtype_are_kept_in_the_row(post, bundle, records, http_call):
    post(bundle(records), VISIT="v1", SUBTYPE="base", TIMEZONE="UTC")
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert (row["VISIT"], row["PROTOCOL"], row["TIMEZONE"]) == ("v1", "base", "")


def test_prevent_anon_keeps_what_anonymisation_would_drop(post, bundle, records, sandbox):
    sandbox.switches.rejected_instances = {records[0].sop_instance_uid}
    assert post(bundle(records[:1])).body == b""
    assert post(bundle(records[:1]), prevent_anon="true").body == b"", "the first file decided for the row (4.2)"
    assert post(bundle(records[:1]), prevent_anon="true", EXPT_LABEL="f").body != b""


def test_labels_are_escaped_and_cleaned_when_archived(post, bundle, records, http_call):
    uri = post(bundle(records), EXPT_LABEL="a&b c").text.strip()
    assert uri.endswith("/a&amp;b c")
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    done = http_call(
        "POST", f"/data{row['url']}".replace("&amp;", "&").replace(" ", "%20"), query={"action": "commit", "AA": "true"}
    )
    assert (done.status, done.text) == (301, "/data/archive/projects/DEMO/subjects/s/experiments/a_amp_b_c")


# SI, 1.7, 3.4


def test_si_makes_a_session_of_its_own_each_time_and_answers_conflicts_with_409(post, bundle, records, sandbox):
    first = post(bundle(records), import__handler="SI", dest="/prearchive/projects/DEMO")
    second = post(bundle(records), import__handler="SI", dest="/prearchive/projects/DEMO")
    assert first.text != second.text
    assert [row.status for row in sandbox.state.prearchive] == ["READY", "READY"]
    done = post(bundle(records), import__handler="SI", dest="/archive")
    assert done.text == "/data/archive/projects/DEMO/subjects/s/experiments/e\r\n"
    again = post(bundle(records), import__handler="SI", dest="/archive")
    assert (again.status, "retry with overwrite enabled" in again.text) == (409, True)
    merged = post(bundle(records), import__handler="SI", dest="/archive", overwrite="delete")
    assert merged.status == 200


def test_si_tolerates_what_it_cannot_parse_unless_that_is_everything(import_, records, post, bundle, sandbox):
    junk = {"junk.txt": b"no DICOM " * 50}
    assert import_(records, extra=junk, import__handler="SI", dest="/prearchive").status == 200
    answer = import_([], extra=junk, import__handler="SI", dest="/prearchive")
    assert (answer.status, "did not include parsable files" in answer.text) == (400, True)


def test_si_takes_one_session_unless_it_stays_in_the_prearchive(post, bundle, records, tmp_path):
    from xnatctl.testing import write_exam

    other = list(write_exam(tmp_path / "o", series=1, instances=1, seed=9, clutter=False).instances.values())
    both = bundle([*records, *other])
    answer = post(both, import__handler="SI", dest="/archive")
    assert (answer.status, "multiple imaging sessions" in answer.text) == (400, True)
    assert len(post(both, import__handler="SI", dest="/prearchive").text.splitlines()) == 2


def test_si_is_the_default_of_old_servers(post, bundle, records, sandbox):
    sandbox.state.version = "1.7.7"
    answer = post(bundle(records), import__handler=None, PROJECT_ID="MANUAL")
    assert answer.text.startswith("/data/prearchive/projects/MANUAL/")
    assert sandbox.state.prearchive[0].status == "READY"


# listeners, 8


@pytest.fixture
def cookie(http_call):
    return {"Cookie": f"JSESSIONID={http_call('POST', '/data/JSESSION').text}"}


def test_a_status_list_is_kept_in_the_session(http_call, cookie, bundle, records):
    query = {"import-handler": "DICOM-zip", "PROJECT_ID": "DEMO", "EXPT_LABEL": "e", "dest": "/archive"}
    answer = http_call(
        "POST", "/data/services/import", user=None, headers=cookie, query={**query, "http-session-listener": "L1"},
        body=bundle(records), kind=ZIP,
    )  # fmt: skip
    assert answer.status == 200
    ask = {"format": "json"}
    (messages,) = http_call("GET", "/data/status/L1", user=None, headers=cookie, query=ask).json["msgs"]
    assert (messages[-1]["status"], messages[-1]["terminal"]) == ("COMPLETED", True)
    assert messages[-1]["msg"].startswith("Archive:/archive/projects/DEMO/")
    assert http_call("GET", "/data/status/L1", query=ask).json == {"msgs": [[]]}, "another session knows nothing"
    assert http_call("GET", "/data/status/L2", user=None, headers=cookie, query=ask).json == {"msgs": [[]]}
    assert http_call("DELETE", "/data/status/L1", user=None, headers=cookie).status == 200
    assert http_call("GET", "/data/status/L1", user=None, headers=cookie, query=ask).json == {"msgs": [[]]}


def test_a_listener_needs_an_id(post, bundle, records):
    answer = post(bundle(records), http__session__listener="")
    assert (answer.status, "'transaction' is required" in answer.text) == (400, True)


def test_a_staged_file_with_a_listener_is_imported_in_the_background(http_call, post, bundle, records, until, sandbox):
    path = "/data/user/cache/resources/stage/files/up.zip"
    http_call("PUT", path, query={"inbody": "true"}, body=bundle(records), kind=ZIP)
    src = "/user/cache/resources/stage/files/up.zip"
    answer = post(src=src, http__session__listener="L")
    assert (answer.status, answer.text) == (200, "Submitted for prearchival")
    assert until(lambda: len(sandbox.instances()) == len(records))
    answer = post(src=src, http__session__listener="L", dest="/archive", EXPT_LABEL="f")
    assert answer.text == "Submitted for archival"
    assert until(lambda: any(e.label == "f" for e in sandbox.state.experiments.values()))


def test_a_commit_with_a_listener_is_followed_by_event_tracking(http_call, import_, records, until):
    uri = import_(records).text.strip()
    answer = http_call("POST", uri, query={"action": "commit", "AA": "true", "http-session-listener": "key1"})
    assert (answer.status, answer.text) == (200, "Archival initiated")
    assert until(lambda: http_call("GET", "/xapi/event_tracking/key1").json["succeeded"] is not None)
    told = http_call("GET", "/xapi/event_tracking/key1").json
    assert (told["key"], told["succeeded"]) == ("key1", True)
    assert told["finalMessage"] == "/archive/projects/DEMO/subjects/s/experiments/e"
    assert http_call("GET", "/xapi/event_tracking/key1", user="bob").status == 404, "each user has his own"
    assert http_call("GET", "/xapi/event_tracking/other").status == 404


def test_a_commit_that_fails_is_told_by_event_tracking(http_call, import_, records, until):
    import_(records, dest="/archive")
    uri = import_(records).text.strip()
    http_call("POST", uri, query={"action": "commit", "AA": "true", "http-session-listener": "key2"})
    assert until(lambda: http_call("GET", "/xapi/event_tracking/key2").json["succeeded"] is False)
    assert "same resources" in http_call("GET", "/xapi/event_tracking/key2").json["finalMessage"]


def test_services_archive_with_a_listener_redirects_at_once(http_call, import_, records, until, sandbox):
    uri = import_(records).text.strip()
    query = {"src": uri, "auto-archive": "false", "http-session-listener": "key3"}
    answer = http_call("POST", "/data/services/archive", query=query)
    assert (answer.status, "prearchive" in answer.headers["Location"]) == (303, True)
    assert until(lambda: bool(sandbox.state.experiments))


# direct archive, 5


def test_a_direct_archive_that_fails_goes_to_the_prearchive(http_call, import_, records, until, sandbox):
    sandbox.switches.direct_archive_fails = True
    uri = import_(records, Direct__Archive="true").text.strip()
    assert http_call("POST", uri).status == 200
    assert until(lambda: http_call("GET", uri).status == 404)
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert (row["status"], row["name"], row["timestamp"].endswith("_DA")) == ("ERROR", "e", True)
    logs = http_call("GET", f"/data{row['url']}/logs/last").text
    assert "Attempt to direct-archive failed" in logs
    sandbox.switches.direct_archive_fails = False
    http_call("POST", f"/data{row['url']}", query={"action": "build"})
    assert http_call("POST", f"/data{row['url']}", query={"action": "commit", "AA": "true"}).status == 301
    assert {entry["place"] for entry in sandbox.instances()} == {"archive"}


def test_a_session_made_meanwhile_sends_a_direct_archive_to_the_prearchive(http_call, import_, records, until, sandbox):
    uri = import_(records, Direct__Archive="true").text.strip()
    http_call("PUT", "/data/projects/DEMO/subjects/s/experiments/e", query={"xsiType": "xnat:mrSessionData"})
    http_call("POST", uri)
    assert until(lambda: http_call("GET", uri).status == 404)
    assert [entry["place"] for entry in sandbox.instances()] == ["prearchive"] * len(records)


def test_the_list_of_direct_sessions(http_call, import_, records):
    import_(records, Direct__Archive="true")
    (row,) = http_call("POST", "/xapi/direct-archive", body=b"{}", kind="application/json").json
    assert (row["project"], row["name"], row["status"]) == ("DEMO", "e", "RECEIVING")
    assert json.dumps(row)
    assert http_call("DELETE", f"/xapi/direct-archive/{row['id']}", user="bob").status == 403
    assert http_call("DELETE", f"/xapi/direct-archive/{row['id']}").status == 200
    assert http_call("POST", "/xapi/direct-archive", body=b"{}", kind="application/json").json == []


# the traps of section 0 that have no test of their own elsewhere


def test_direct_archive_falls_back_by_the_file_and_both_kinds_of_uri_come_back(
    import_, records, sandbox, http_call, until
):
    """Trap 7: what arrives after a direct session has begun to end goes to the prearchive."""
    first = import_(records[:4], Direct__Archive="true").text.strip()
    sandbox.switches.build_seconds = 60
    assert http_call("POST", first).status == 200
    assert until(lambda: sandbox.state.direct[0].status == "BUILDING")
    second = import_(records[4:], Direct__Archive="true")
    assert (second.status, second.text.startswith("/data/prearchive/")) == (200, True)
    sandbox.switches.build_seconds = 0
    assert until(lambda: not sandbox.state.direct)
    assert sorted({entry["place"] for entry in sandbox.instances()}) == ["archive", "prearchive"]


def test_overwrite_without_a_commit_is_forgotten(import_, records, sandbox, http_call):
    """Trap 8."""
    import_(records, dest="/archive")
    uri = import_(records, overwrite="delete", overwrite_files="true").text.strip()
    answer = http_call("POST", uri, query={"action": "commit", "AA": "true", "overwrite": "delete"})
    assert (answer.status, "same resources" in answer.text) == (500, True)


def test_every_failure_to_archive_is_the_same_400(import_, records, http_call):
    """Trap 9: the reason is in the row and in its log only."""
    import_(records, dest="/archive")
    answer = import_(records, dest="/archive", overwrite="append")
    assert (answer.status, "unable to archive for the Prearchive session" in answer.text) == (400, True)
    assert "same resources" not in answer.text
    (row,) = http_call("GET", "/data/prearchive/projects/DEMO").rows
    assert row["status"] == "CONFLICT"
    assert "same resources" in http_call("GET", f"/data{row['url']}/logs/last").text
