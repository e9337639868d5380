"""Trouble on the way to a resource: nothing is lost, nothing is left as an orphan, and the next run finishes the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.once

FILES = {"method": "PUT", "path": "/files/"}


@pytest.fixture
def upload(xnatctl, alice):
    def run(*arguments, env=alice, **more):
        return xnatctl("resource", "upload", *arguments, "-o", "json", env=env, **more)

    return run


@pytest.fixture
def small(tmp_path):
    """Twelve files in three folders."""
    root = tmp_path / "small"
    for number in range(12):
        path = root / f"part {number % 3}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"file {number}\n".encode() * 100)
    return root


@pytest.fixture
def one_by_one(install):
    """A third-party transport that sends each file on its own, through the same protocol: many requests."""
    return install(
        "onebyone",
        """
from xnatctl.api import Batch, Payload, TransportSpec, hookimpl
from xnatctl.api.packing import plain_body

class OneByOne:
    def __init__(self, context): self.context = context
    def __enter__(self): return self
    def __exit__(self, *error): self.close()
    def describe(self): return {"requests": "one per file"}
    def batches(self, items, workers): return [Batch(id=str(n), items=(item,)) for n, item in enumerate(items)]
    def send(self, batch, emit):
        (item,) = batch.items
        return self.context.writer.put_file(item, body=plain_body(item, self.context.open_item), emit=emit)
    def close(self): pass

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="onebyone", summary="s", target="dist_onebyone_onebyone:OneByOne",
                          payload=Payload.RESOURCE)]
""",
    )


@pytest.fixture
def meddler(install):
    """Our transport with bundles of five files, and something that happens at its n-th request: `MEDDLE=what:n:path`."""
    return install(
        "meddler",
        """
import os, signal
from dataclasses import replace
from xnatctl.api import Batch, Payload, TransportSpec, hookimpl
from xnatctl_resource.transport import ResourceTransport

class Deadly:  # ends the process when half of one file has been read
    def __init__(self, open_item, item, name):
        self.source, self.deadly, self.left = open_item(item), item.name == name, item.size // 2
    def __enter__(self):
        self.reader = self.source.__enter__()
        return self
    def __exit__(self, *error): return self.source.__exit__(*error)
    def read(self, size=-1):
        self.left -= size
        if self.deadly and self.left < 0: os.kill(os.getpid(), signal.SIGKILL)
        return self.reader.read(size)

class Meddler(ResourceTransport):
    sent = 0
    def __init__(self, context):
        super().__init__(context)
        self.open_item = context.open_item
    def batches(self, items, workers):
        return [Batch(id=str(n), items=tuple(items[n : n + 5])) for n in range(0, len(items), 5)]
    def send(self, batch, emit):
        what, number, path = os.environ.get("MEDDLE", "::").split(":", 2)
        self.sent += 1
        now = number == str(self.sent)
        if now and what == "kill-inside":
            self._context = replace(self._context, open_item=lambda item: Deadly(self.open_item, item, path))
        if now and what == "change":
            with open(path, "wb") as file: file.write(b"written to meanwhile")
        if now and what == "kill-before": os.kill(os.getpid(), signal.SIGKILL)
        result = super().send(batch, emit)
        if now and what == "kill-after": os.kill(os.getpid(), signal.SIGKILL)
        return result

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="meddler", summary="s", target="dist_meddler_meddler:Meddler",
                          payload=Payload.RESOURCE)]
""",
    )


def whole(server, session, on_disk, expected, label="R"):
    """The disk and the catalog agree, with each other and with what was to be sent."""
    assert on_disk(label) == expected
    assert set(server.listed(f"/data/experiments/{session}", label)) == set(expected), "no file without an entry"


@pytest.mark.parametrize(
    "rule",
    [
        {"nth": 1, "action": "store-then-cut"},
        {"nth": 1, "action": "cut-before-body"},
        {"nth": 1, "action": "cut-at-byte", "bytes": 5000},
        {"nth": 1, "action": "store-then-status", "status": 504, "page": "proxy"},
        {"nth": [1, 2], "action": "status", "status": 503, "headers": {"Retry-After": "0"}},
        {"nth": 1, "action": "status", "status": 200, "page": "login"},
    ],
    ids=lambda rule: f"{rule['action']}{rule.get('status', '')}",
)
def test_a_lost_or_wrong_answer(upload, server, session, small, contents, on_disk, sandbox, writes, rule):
    sandbox.faults.load([{"match": FILES, **rule}])
    done = upload(session, "R", small)
    if rule.get("page") == "login":  # nothing says what it was; the run stops, and the next one finishes
        assert done.code == 4
        done = upload(session, "R", small)
    assert done.code == 0, done.err
    whole(server, session, on_disk, contents(small))
    # What was stored although its answer was lost is found by listing, and not sent again.
    assert len(writes()) == {"store-then-cut": 1, "store-then-status": 1}.get(rule["action"], len(writes()))


def test_a_catalog_conflict_on_every_third_request(
    upload, server, session, small, contents, on_disk, sandbox, alice, one_by_one
):
    sandbox.switches.catalog_conflict_every = 3
    done = upload(session, "R", small, "--mode", "onebyone", env={**alice, **one_by_one})
    assert done.code == 0, done.err
    whole(server, session, on_disk, contents(small))
    again = upload(session, "R", small)
    assert again.document["counts"]["skipped"] == 12


@pytest.mark.parametrize("place", [("e",), ("e", "--scan", "4"), ("--project-level",)], ids=lambda place: place[-1])
def test_a_conflict_on_every_request_is_repaired_by_the_catalog_service(
    upload, session, small, contents, on_disk, sandbox, writes, place
):
    sandbox.switches.catalog_conflict_every = 1
    names = (place[0], "R", small) if place[0] == "e" else ("R", small)
    done = upload(*names, "-P", "DEMO", *(place[1:] if place[0] == "e" else place))
    assert done.code == 0, done.err
    assert len(writes()) == 1, "the files are on the server's disk; they need an entry, not another transfer"
    assert on_disk("R") == contents(small)


def test_an_orphan_that_somebody_else_left_is_refused_by_name(
    upload, server, session, small, contents, on_disk, sandbox
):
    """On the disk, not in the catalog: a PUT without `overwrite` says `duplicates` for ever (xnat-api 4.7)."""
    server.call("PUT", f"/data/experiments/{session}/resources/R")
    sandbox.switches.catalog_conflict_every = 1
    with pytest.raises(OSError, match="500"):
        server.put(f"/data/experiments/{session}/resources/R/files/part%200/0.txt", b"left behind")
    sandbox.switches.catalog_conflict_every = 0
    assert server.listed(f"/data/experiments/{session}", "R") == {}
    done = upload(session, "R", small)
    assert done.code == 5, done.err
    assert [item["path"] for item in done.document["items"] if item["outcome"] == "rejected"] == ["part 0/0.txt"]
    assert "--overwrite" in done.document["error"]["hint"]
    whole(server, session, on_disk, {**contents(small), "part 0/0.txt": b"left behind"})
    assert upload(session, "R", small).code == 7
    assert upload(session, "R", small, "--overwrite").code == 0
    whole(server, session, on_disk, contents(small))


@pytest.mark.parametrize("checksums", [True, False])
def test_a_file_that_a_killed_run_left_half_is_replaced_and_a_colleagues_file_is_not(
    upload, server, session, tmp_path, on_disk, sandbox, alice, meddler, checksums
):
    """kill -9 in the middle of a file: its beginning lies on the server's disk, and no catalog lists it."""
    sandbox.state.site["checksums"] = checksums
    big, other = tmp_path / "files" / "big.dat", tmp_path / "files" / "other.dat"
    big.parent.mkdir()
    big.write_bytes(bytes(range(256)) * 16_000)
    other.write_bytes(b"our own\n" * 100)
    mode = ("--mode", "meddler")
    killed = upload(session, "R", big.parent, *mode, env={**alice, **meddler, "MEDDLE": "kill-inside:1:big.dat"})
    assert killed.code == -9
    deadline = time.monotonic() + 60
    while not sandbox.is_quiet() and time.monotonic() < deadline:
        time.sleep(0.02)
    half = on_disk("R")["big.dat"]
    assert half == big.read_bytes()[: len(half)]
    assert 0 < len(half) < big.stat().st_size
    foreign = [b"our owm\n" * 50, b"our owm\n" * 100, b"our own\n" * 101]  # shorter, of the same size, longer
    for content in foreign:
        server.call(
            "PUT", f"/data/experiments/{session}/resources/R/files/other.dat", body=content, inbody="true",
            overwrite="true",
        )  # fmt: skip
        refused = upload(session, "R", big.parent, *mode, env={**alice, **meddler})
        assert refused.code == 7, refused.err
        assert "other.dat" in refused.document["error"]["message"]
        assert on_disk("R") == {"big.dat": half, "other.dat": content}
    server.call("DELETE", f"/data/experiments/{session}/resources/R/files/other.dat")
    done = upload(session, "R", big.parent, *mode, env={**alice, **meddler})
    assert done.code == 0, done.err
    whole(server, session, on_disk, {"big.dat": big.read_bytes(), "other.dat": other.read_bytes()})


def test_what_never_got_there_gives_no_right_to_replace(upload, server, session, small, on_disk, sandbox):
    """A first run that was refused left nothing, so a file of that name is somebody else's."""
    sandbox.faults.load([{"match": FILES, "nth": "every", "action": "status", "status": 403}])
    assert upload(session, "R", small).code == 3
    sandbox.faults.load([])
    server.put(f"/data/experiments/{session}/resources/R/files/part%200/0.txt", b"somebody else's")
    again = upload(session, "R", small)
    assert again.code == 7, again.err
    assert "part 0/0.txt" in again.document["error"]["message"]
    assert on_disk("R") == {"part 0/0.txt": b"somebody else's"}


def test_a_server_that_says_yes_and_stores_nothing_is_found_out(upload, server, session, small, sandbox):
    """200 and nothing: no right to write that the resource itself did not tell of (xnat-api 4.4)."""
    server.call("PUT", f"/data/experiments/{session}/resources/R")
    sandbox.faults.load([{"match": FILES, "nth": "every", "action": "status", "status": 200, "page": "plain"}])
    done = upload(session, "R", small)
    assert done.code in (5, 6)
    assert done.document["counts"]["verified"] == 0
    again = f"xnatctl resource upload {session} R {small} -o json --url {sandbox.url}"
    assert done.document["next"] == [again]
    sandbox.faults.load([])
    assert upload(session, "R", small).code == 0


@pytest.mark.parametrize("fault", ["truncate-file", "lose-file"])
def test_a_file_that_did_not_arrive_whole_is_sent_again(
    upload, server, session, small, contents, on_disk, sandbox, fault
):
    """200, and less is there than was sent: only the listing shows it (xnat-api 4.4)."""
    rule = {"match": FILES, "action": fault, "members": "4.txt$", **({"bytes": 10} if "trunc" in fault else {})}
    sandbox.faults.load([{**rule, "nth": 1}])
    done = upload(session, "R", small)
    assert done.code == 0, done.err
    assert "1 file did not arrive" in "".join(done.document["warnings"])
    whole(server, session, on_disk, contents(small))
    (small / "part 1" / "4.txt").write_bytes(b"new content, so that it has to go")
    sandbox.faults.load([{**rule, "nth": "every"}])
    done = upload(session, "R", small, "--overwrite")
    assert done.code == 6
    (difference,) = done.document["verification"]["differences"]
    assert difference["path"] == "part 1/4.txt"
    assert [item["path"] for item in done.document["items"] if item["outcome"] == "missing"] == ["part 1/4.txt"]
    assert done.document["counts"]["verified"] == 11
    sandbox.faults.load([])
    # The beginning of the new file is ours to replace; the file of the first run is replaced by the same command only.
    assert upload(session, "R", small).code == (0 if fault == "truncate-file" else 7)
    assert upload(session, "R", small, "--overwrite").code == 0
    whole(server, session, on_disk, contents(small))


def test_a_file_that_changes_while_it_is_sent_is_not_mixed(
    upload, server, session, small, contents, on_disk, alice, meddler
):
    target = small / "part 1" / "4.txt"
    done = upload(session, "R", small, "--mode", "meddler", env={**alice, **meddler, "MEDDLE": f"change:1:{target}"})
    assert done.code == 5
    changed = [item for item in done.document["items"] if item["outcome"] == "changed"]
    assert [item["path"] for item in changed] == ["part 1/4.txt"]
    expected = contents(small)
    expected.pop("part 1/4.txt")
    whole(server, session, on_disk, expected)
    assert upload(session, "R", small).code == 0
    whole(server, session, on_disk, contents(small))


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_a_request(upload, xnatctl, server, session, small, contents, on_disk, alice, meddler, writes, when):
    """kill -9 in the middle: the journal says what is missing, and `upload resume` finishes it."""
    mode = ("--mode", "meddler")
    killed = upload(session, "R", small, *mode, env={**alice, **meddler, "MEDDLE": f"kill-{when}:2:"})
    assert killed.code == -9
    status = xnatctl("upload", "status", "-o", "json", env=meddler).document["uploads"]
    (row,) = status
    assert (row["state"], row["found"]) == ("incomplete", 12)
    assert row["undelivered"] > 0
    missing = xnatctl("upload", "status", row["id"], "-o", "json", env=meddler).document
    assert "part " in json.dumps(missing)
    before = len(writes())
    done = xnatctl("upload", "resume", row["id"], "-o", "json", env={**alice, **meddler})
    assert done.code == 0, done.err
    assert done.document["counts"]["skipped"] == 12 - done.document["counts"]["sent"] > 0
    assert len(writes()) > before or when == "after"
    whole(server, session, on_disk, contents(small))


def test_an_interrupt_ends_at_once_and_the_same_command_finishes(
    upload, environment, server, session, small, contents, on_disk, sandbox, alice, one_by_one, writes
):
    sandbox.faults.load([{"match": FILES, "nth": 4, "action": "hold", "seconds": 30}])
    arguments = ["resource", "upload", session, "R", str(small), "--mode", "onebyone", "-o", "json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", *arguments],
        env={**environment, **alice, **one_by_one},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while len(writes()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGTERM)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 143, err
    report = json.loads(out)
    assert report["status"] == "interrupted"
    assert report["next"][0].startswith(f"xnatctl resource upload {session} R")
    sandbox.faults.load([])
    assert upload(session, "R", small).code == 0
    whole(server, session, on_disk, contents(small))


def test_two_runs_at_one_resource_exclude_each_other(
    upload, xnatctl, environment, session, small, contents, on_disk, sandbox, alice
):
    """Also when they name the session differently, or when the resource is a part of a larger plan."""
    sandbox.faults.load([{"match": FILES, "nth": 1, "action": "hold", "seconds": 60}])
    first = subprocess.Popen(
        [sys.executable, "-m", "xnatctl", "resource", "upload", session, "R", str(small)],
        env={**environment, **alice},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    journals = environment["XDG_STATE_HOME"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(
        "resource-" in name for _, _, files in os.walk(journals) for name in files
    ):
        time.sleep(0.02)
    second = upload("e", "R", small, "-P", "DEMO", "--lock-wait", "0")
    assert second.code == 7
    assert "Another run" in second.document["error"]["message"]
    root = small.parent / "root"
    root.mkdir()
    small.rename(root / "R")
    small = root / "R"
    third = xnatctl(
        "session", "upload-exam", root, "-P", "DEMO", "-E", "e", "--attach-only", "--lock-wait", "0", "-o", "json",
        env=alice,
    )  # fmt: skip
    assert third.code == 7
    assert "Another run" in third.document["error"]["message"]
    first.kill()
    first.communicate()
    sandbox.faults.load([])
    assert upload("e", "R", small, "-P", "DEMO").code == 0
    assert on_disk("R") == contents(small)
