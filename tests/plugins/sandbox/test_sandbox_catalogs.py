"""Catalogs of resources: parallel changes, refresh and numbers (xnat-api 2.2, 4.7 and 4.8)."""

from __future__ import annotations

import json
import threading

import pytest
from packed import packed

# concurrency, 4.7


def test_a_catalog_changed_meanwhile_is_500_with_an_orphan(base, put, held, on_disk, sandbox, until):
    put(f"{base}/files/first.txt")
    sandbox.switches.catalog_seconds = 60
    answers = []
    slow = threading.Thread(target=lambda: answers.append(put(f"{base}/files/slow.txt")))
    slow.start()
    assert until(lambda: "slow.txt" in on_disk())
    quick = threading.Thread(target=lambda: answers.append(put(f"{base}/files/quick.txt")))
    quick.start()
    assert until(lambda: "quick.txt" in on_disk())
    sandbox.switches.catalog_seconds = 0
    slow.join()
    quick.join()
    assert sorted(answer.status for answer in answers) == [200, 500]
    assert "Another thread or process modified" in next(a.text for a in answers if a.status == 500)
    assert set(on_disk()) == {"first.txt", "slow.txt", "quick.txt"}
    assert len(held()) == 2


def test_first_puts_in_parallel_make_two_resources_of_one_label(base, put, session, http_call, on_disk, sandbox, until):
    sandbox.switches.catalog_seconds = 60
    threads = [threading.Thread(target=put, args=(f"{base}/files/{name}",)) for name in "ab"]
    for thread in threads:
        thread.start()
    assert until(lambda: set(on_disk()) == {"a", "b"})
    sandbox.switches.catalog_seconds = 0
    for thread in threads:
        thread.join()
    rows = http_call("GET", f"/data/experiments/{session}/resources").rows
    assert [row["label"] for row in rows] == ["R", "R"]
    assert len({row["xnat_abstractresource_id"] for row in rows}) == 2


def test_every_nth_request_by_switch_and_any_request_by_script(base, put, held, sandbox):
    sandbox.switches.catalog_conflict_every = 3
    assert [put(f"{base}/files/{n}").status for n in range(6)] == [200, 200, 500, 200, 200, 500]
    sandbox.switches.catalog_conflict_every = 0
    sandbox.faults.load([{"match": {"path": "/files/7$"}, "nth": 1, "action": "catalog-conflict"}])
    assert [put(f"{base}/files/{n}").status for n in (7, 8)] == [500, 200]
    assert set(held()) == {"0", "1", "3", "4", "8"}


def test_a_naive_retry_never_repairs_an_orphan(base, put, held, sandbox, http_call, session):
    sandbox.faults.load([{"match": {"path": "/files/"}, "times": 1, "action": "catalog-conflict"}])
    assert put(f"{base}/files/a").status == 500
    assert json.loads(put(f"{base}/files/a").body) == {"duplicates": ["a"]}
    assert held() == {}
    assert put(f"{base}/files/a", overwrite="true").status == 200
    assert set(held()) == {"a"}


def test_200_and_stored_in_part(base, put, held, on_disk, sandbox):
    """Nothing tells it but size and digest (4.4.3)."""
    sandbox.faults.load(
        [
            {"match": {"path": "one.zip"}, "action": "lose-file", "members": "^b"},
            {"match": {"path": "two.zip"}, "action": "truncate-file", "members": "d$", "bytes": 2},
        ]
    )
    for name, members in (("one", {"a": b"1", "b": b"2"}), ("two", {"c": b"3333", "d": b"4444"})):
        answer = put(f"{base}/files/{name}.zip", packed("zip", members), extract="true")
        assert (answer.status, answer.body) == (200, b"")
    assert on_disk() == {"a": b"1", "c": b"3333", "d": b"44"}
    assert held()["d"]["Size"] == "2"


# catalogs and numbers, 2.2, 4.8


@pytest.fixture
def refresh(http_call, session):
    def call(uri=f"/archive/experiments/{session}/resources/R", user="alice", **query):
        return http_call("POST", "/data/services/refresh/catalog", user=user, query={"resource": uri, **query})

    return call


def test_refresh(base, put, held, on_disk, refresh, sandbox, session, http_call):
    folder = sandbox.state.experiments[session].directory / "RESOURCES" / "R"
    put(f"{base}/files/a.txt", b"1")
    put(f"{base}/files/gone.txt", b"2")
    (folder / "gone.txt").unlink()
    (folder / "found.txt").write_bytes(b"333")
    assert refresh(options="append").status == 200
    assert set(held()) == {"a.txt", "gone.txt", "found.txt"}
    assert held()["found.txt"]["digest"] == ""
    assert refresh(delete="true", checksum="true").status == 200
    assert set(held()) == {"a.txt", "found.txt"}
    assert held()["found.txt"]["digest"] == "310dcbbf4cce62f762a2aaa148d556bd"
    numbers = lambda: [r["file_count"] for r in http_call("GET", f"/data/experiments/{session}/resources").rows]  # noqa: E731
    before = numbers()
    refresh(options="append,populateStats")
    assert numbers() == ["2"] == before


def test_refresh_by_other_uris_and_what_it_refuses(base, put, held, refresh, sandbox, session):
    put(f"{base}/files/a.txt")
    folder = sandbox.state.experiments[session].directory / "RESOURCES" / "R"
    for number, uri in enumerate(
        ("/archive/projects/DEMO/subjects/s/experiments/e", "/data/archive/projects/DEMO/experiments/e/resources/R")
    ):
        (folder / f"{number}.txt").write_bytes(b"x")
        assert refresh(uri, options="append").status == 200
        assert f"{number}.txt" in held()
    assert refresh(user="bob", options="append").status == 403
    assert refresh("/archive/experiments/NOWHERE").status == 404
    assert refresh("/archive/experiments/XNAT_E00001/resources/NOWHERE").status == 404
    assert refresh("/nonsense").status == 400
    assert refresh("").status == 400


def test_numbers_in_resource_tables_may_be_old_or_empty(base, put, http_call, session, sandbox, refresh):
    def numbers(**query):
        (row,) = http_call("GET", f"/data/experiments/{session}/resources", query={"format": "json", **query}).rows
        return row["file_count"], row["file_size"]

    put(f"{base}/files/a", b"12", **{"update-stats": "false"})
    assert numbers() == ("", "")
    assert numbers(cache_file_stats="true") == ("1", "2")
    put(f"{base}/files/b", b"34", **{"update-stats": "false"})
    assert numbers() == ("1", "2") == numbers(cache_file_stats="true")
    refresh(options="populateStats")
    assert numbers() == ("2", "4")
    sandbox.switches.stale_stats = True
    put(f"{base}/files/c", b"56")
    assert numbers() == ("2", "4")


def test_checksums_can_be_off(base, put, held, sandbox, http_call):
    put(f"{base}/files/a", b"x")
    sandbox.state.site["checksums"] = False
    put(f"{base}/files/b", b"x")
    assert held()["a"]["digest"] == "9dd4e461268c8034f5c8564e155c67a6"
    assert held()["b"]["digest"] == ""
    assert http_call("GET", "/xapi/siteConfig/checksums", user="bob").text == "false"
