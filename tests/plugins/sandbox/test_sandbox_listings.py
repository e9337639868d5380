"""Tables, items and what creates them (xnat-api 2 and 3)."""

from __future__ import annotations

import pytest


@pytest.fixture
def session(import_, exam):
    import_(list(exam.instances.values()), dest="/archive")
    return "XNAT_E00001"


@pytest.fixture
def crowd(http_call):
    """Twelve sessions of six subjects."""
    for number in range(12):
        kind = "xnat:ctSessionData" if number % 4 == 0 else "xnat:mrSessionData"
        answer = http_call(
            "PUT", f"/data/projects/DEMO/subjects/s{number % 6}/experiments/e{number:02}",
            query={"xsiType": kind, "date": f"2024-06-{number + 1:02}"},
        )  # fmt: skip
        assert answer.status == 201


@pytest.mark.parametrize("path", ["/data/experiments", "/data/projects/DEMO/experiments"])
def test_paging(crowd, http_call, path):
    """A page has no total; one of limit and offset brings the other along; `*` turns it off (2.1)."""

    def ask(**query):
        found = http_call("GET", path, query={"format": "json", **query}).json["ResultSet"]
        return [row["label"] for row in found["Result"]], found.get("totalRecords")

    labels = [f"e{number:02}" for number in range(12)]
    assert ask() == (labels, "12")
    assert ask(limit="5") == (labels[:5], None)
    assert ask(limit="5", offset="10") == (labels[10:], None)
    assert ask(offset="3") == (labels[3:], None)
    assert ask(limit="*") == (labels, "12")
    assert http_call("GET", path, query={"limit": "x"}).status == 400


def test_scans_and_projects_are_never_paged(session, http_call):
    assert len(http_call("GET", f"/data/experiments/{session}/scans", query={"limit": "1"}).rows) == 2
    assert len(http_call("GET", "/data/projects", query={"limit": "1"}).rows) == 2


def test_filters(crowd, session, http_call, exam):
    def ask(**query):
        return [row["label"] for row in http_call("GET", "/data/projects/DEMO/experiments", query=query).rows]

    assert ask(label="e03,e04") == ["e03", "e04"]
    assert ask(label="e1*") == ask(label="e1%") == ["e10", "e11"]
    assert ask(xsiType="xnat:ctSessionData") == ["e00", "e04", "e08"]
    assert ask(date="06/02/2024-06/04/2024") == ["e01", "e02", "e03"]
    assert ask(studyInstanceUID=exam.study_instance_uid, columns="ID,label") == ["e"], "a filter need not be a column"
    assert ask(subject_label="s1") == ["e01", "e07"]
    assert ask(nonsense="x", label="e00") == ["e00"]
    assert ask(sortBy="date", sortOrder="DESC", label="e0*")[0] == "e09"


def test_csv_has_its_header_even_when_nothing_is_found(http_call):
    answer = http_call("GET", "/data/projects/DEMO/experiments", query={"format": "csv"})
    assert answer.text.startswith('"ID","project","date","xsiType","label","insert_date","URI"\n')


def test_lists_of_projects(http_call):
    def ids(user="alice", **query):
        return [row["ID"] for row in http_call("GET", "/data/projects", user=user, query=query).rows]

    assert ids() == ["DEMO", "MANUAL"]
    assert ids("bob") == ["DEMO"]
    assert ids("bob", restrict="edit") == []
    assert ids("admin", restrict="edit") == ["DEMO", "MANUAL", "PRIVATE"]
    (row,) = http_call("GET", "/data/projects", user="bob", query={"accessible": "true"}).rows
    assert (row["id"], row["user_role_bob"], "URI" in row, "ID" in row) == ("DEMO", "collaborator", False, False)
    owned = http_call("GET", "/data/projects", query={"owner": "true", "prearc_code": "0"}).rows
    assert [row["id"] for row in owned] == ["MANUAL"]


# creating, 3


def test_subjects(http_call):
    path = "/data/projects/DEMO/subjects"
    new = http_call("PUT", f"{path}/s1", query={"gender": "female", "xnat:subjectData/src": "x"})
    assert (new.status, new.text) == (201, "XNAT_S00001")
    assert (http_call("PUT", f"{path}/s1").status, http_call("PUT", f"{path}/XNAT_S00001").text) == (200, "XNAT_S00001")
    renamed = http_call("PUT", f"{path}/s1", query={"label": "s2"})
    assert (renamed.status, renamed.body) == (200, b"")
    item = http_call("GET", f"{path}/s2", query={"format": "json"}).json["items"][0]["data_fields"]
    assert (item["label"], item["gender"], item["src"]) == ("s2", "female", "x")
    assert http_call("PUT", f"{path}/s3", user="bob").status == 403
    assert http_call("PUT", "/data/projects/NOWHERE/subjects/s1").status == 422
    assert http_call("PUT", f"{path}/s2", query={"project": "MANUAL"}).status == 409
    posted = http_call("POST", path, query={"label": "s9"})
    assert (posted.status, posted.text) == (200, "/data/subjects/XNAT_S00002")
    assert posted.headers["Location"].endswith("/data/subjects/XNAT_S00002")
    assert http_call("POST", path, query={"label": "s9"}).status == 409
    xml = b'<xnat:Subject xmlns:xnat="http://nrg.wustl.edu/xnat" label="s10"/>'
    assert http_call("POST", path, body=xml, kind="text/xml").status == 200


def test_a_subject_is_found_by_id_whatever_its_project(http_call, sandbox):
    http_call("PUT", "/data/projects/DEMO/subjects/s1")
    answer = http_call("GET", "/data/projects/MANUAL/subjects/XNAT_S00001", query={"format": "json"})
    assert answer.json["items"][0]["data_fields"]["project"] == "DEMO"


def test_sessions(http_call):
    path = "/data/projects/DEMO/subjects/s/experiments/e"
    assert (
        http_call("PUT", path).status,
        http_call("PUT", path, query={"xsiType": "xnat:imageSessionData"}).status,
    ) == (417, 400)
    query = {"xsiType": "xnat:mrSessionData", "date": "2024-06-19", "modality": "MR"}
    assert http_call("PUT", path, query={**query, "date": "yesterday"}).status == 400
    assert http_call("GET", "/data/projects/DEMO/experiments").rows == [], (
        "nothing is made of a request that is refused"
    )
    new = http_call("PUT", path, query=query)
    assert (new.status, new.text) == (201, "XNAT_E00001")
    assert (http_call("PUT", path).status, http_call("PUT", path).text) == (200, "XNAT_E00001")
    assert [row["label"] for row in http_call("GET", "/data/projects/DEMO/subjects").rows] == ["s"], "made on the way"
    short = "/data/projects/DEMO/experiments/e2"
    assert http_call("PUT", short, query={**query, "subject_ID": "s"}).status == 201
    assert http_call("PUT", "/data/projects/DEMO/experiments/e3", query=query).status == 417
    assert http_call("PUT", path, user="bob", query=query).status == 403
    assert http_call("PUT", path, query={"req_format": "xml"}, body=b"<no xml", kind="text/plain").status == 422


def test_scans(http_call, session):
    path = f"/data/experiments/{session}/scans/9"
    query = {"xsiType": "xnat:mrScanData", "type": "T1", "series_description": "mprage", "quality": "usable"}
    for _ in range(2):
        answer = http_call("PUT", path, query=query)
        assert (answer.status, answer.body) == (200, b"")
    assert http_call("PUT", path, query={"xsiType": "xnat:ctScanData"}).status == 409
    assert http_call("PUT", path, query={"xsiType": "xnat:imageScanData"}).status == 400
    assert http_call("PUT", path, query=query, user="bob").status == 403
    rows = {row["ID"]: row for row in http_call("GET", f"/data/experiments/{session}/scans").rows}
    assert (rows["9"]["type"], rows["9"]["series_description"]) == ("T1", "mprage")


def test_projects(http_call):
    assert http_call("PUT", "/data/projects/NEW", user="admin").status == 200
    assert http_call("PUT", "/data/projects/NEW", user="alice").status == 403
    assert http_call("POST", "/data/projects", user="admin", query={"ID": "NEW"}).status == 409
    assert http_call("POST", "/data/projects", user="admin", query={"ID": "bad id"}).status == 417
    assert http_call("POST", "/data/projects", user="admin", query={"ID": "NEWER", "name": "n"}).status == 200
    assert "NEWER" in [row["ID"] for row in http_call("GET", "/data/projects", user="admin").rows]


@pytest.mark.parametrize("path", ["/data/projects/../users", "/data/./projects", "/data/projects/%2E%2E"])
def test_paths_that_are_not_normal_are_rejected(http_call, path):
    assert http_call("GET", path).status == 500


def test_accept_and_format(session, http_call):
    """`format` overrides Accept; for `*/*` lists are JSON and items HTML (2.1)."""

    def kind(path, accept, **query):
        answer = http_call("GET", path, headers={"Accept": accept}, query=query)
        return answer.headers["Content-Type"].partition(";")[0]

    listing, item = "/data/projects/DEMO/experiments", f"/data/experiments/{session}"
    assert [kind(path, "*/*") for path in (listing, item)] == ["application/json", "text/html"]
    assert [kind(path, "application/json") for path in (listing, item)] == ["application/json"] * 2
    assert kind(listing, "text/csv") == "text/csv"
    assert kind(listing, "text/csv", format="json") == "application/json"
    assert kind(item, "text/html", format="application/json") == "application/json"
