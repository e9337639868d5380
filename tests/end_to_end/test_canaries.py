"""No secret and no patient leaves through a word that is printed, logged, recorded or put into an address."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

PASSWORD = 'C4n4ry "pä55/wörd" 100%'
PATIENT = {
    "PatientName": "Canarydoe^Jane",
    "PatientID": "C4N4RY-ID-77",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "C4N4RYACC",
    "PatientComments": "c4n4ry comment of a radiologist",
    "OtherPatientNames": "Canaryjones^June",
}
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"path": "/services/import"}


@pytest.fixture
def patient(own_exam):
    """An exam of somebody: what identifies them is in every file, in private elements too."""
    import pydicom

    for instance in own_exam.instances.values():
        ds = pydicom.dcmread(instance.path)
        for keyword, value in PATIENT.items():
            setattr(ds, keyword, value)
        ds.private_block(0x0011, "CANARY", create=True).add_new(1, "LO", "c4n4ry private")
        ds.save_as(instance.path)
    found = leaks(PATIENT, {"file": next(iter(own_exam.instances.values())).path.read_bytes()})
    assert len({leak.split()[0] for leak in found}) == len(PATIENT), "what is looked for can be found"
    (own_exam.directory / "notes").mkdir()
    (own_exam.directory / "notes" / "readme.txt").write_text("c4n4ry note")
    return own_exam


def forms(text):
    """A text as it may be written by somebody who did not mean to write it."""
    swapped = " ".join(reversed(text.split("^")))
    raw = {text, swapped, quote(text), quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}
    basic = base64.b64encode(f"alice:{text}".encode())
    return {form.encode() for form in raw} | {text.encode("utf-16-le"), base64.b64encode(text.encode()), basic}


def leaks(secrets, places):
    """Where a secret stands; the secret itself is not printed."""
    return sorted(
        f"{name} in {place} at {content.index(form)}"
        for place, content in places.items()
        for name, text in secrets.items()
        for form in forms(text)
        if len(form) > 5 and form in content
    )


def written(root, *apart):
    """Every file below a folder, but for those that the test put there."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(folder) for folder in apart)
    }


@pytest.fixture
def everything(hasty, sandbox, patient, tmp_path, home):
    """Run commands as loudly as they can be; returns all that they said, wrote and asked for."""
    sandbox.state.users["alice"].password = PASSWORD
    places = {}

    def run(*arguments, env=None):
        number = len(places)
        log = ("-vv", "--log-file", tmp_path / f"{number}.log") if arguments[0] not in ("plugins", "--version") else ()
        variables = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": PASSWORD, **(env or {})}
        done = hasty(*arguments, *log, env=variables)
        assert "Traceback" not in done.err
        places[f"{number}: {' '.join(map(str, arguments[:3]))} (stdout)"] = done.out.encode()
        places[f"{number}: {' '.join(map(str, arguments[:3]))} (stderr)"] = done.err.encode()
        return done

    def collect():
        places.update(written(tmp_path, patient.directory, sandbox.directory))
        places["addresses"] = "\n".join(f"{r['path']}?{r['query']}" for r in sandbox.requests).encode()
        return places

    run.collect = collect
    return run


@pytest.mark.once
def test_of_every_command_that_reads(everything, patient, sandbox):
    upload = ("session", "upload", patient.directory, *NAMES)
    assert everything(*upload, "-o", "json").code == 0
    assert everything(*upload, "--dry-run", "-o", "json").code == 0
    assert everything(*upload, "--dry-run").code == 0
    assert everything("session", "verify", patient.directory, *NAMES, "-o", "json").code == 0
    for command in (
        ("session", "list", "-P", "DEMO"), ("session", "show", "e", "-P", "DEMO"), ("scan", "list", "e", "-P", "DEMO"),
        ("prearchive", "list", "-P", "DEMO"), ("upload", "status"), ("upload", "status", "DEMO/e"), ("auth", "status"),
        ("doctor",), ("config", "show"), ("plugins", "list"),
    ):  # fmt: skip
        everything(*command)
        everything(*command, "-o", "json")
    found = everything.collect()
    assert leaks({**PATIENT, "password": PASSWORD, "private": "c4n4ry"}, found) == []
    kept = {place: content for place, content in found.items() if not place.endswith("(stdout)")}
    assert leaks({"description of a series": "Phantom 1"}, kept) == []


def test_of_studies_of_two_patients(everything, patient):
    """They are compared by their IDs, put in order by their dates, and neither is told."""
    from xnatctl.testing.exam import write_exam

    date = {"StudyDate": "19020304"}
    write_exam(patient.directory / "other", series=1, instances=2, seed=70, study_date="19020304", clutter=False)
    names = (patient.directory, *NAMES)
    refused = everything("session", "upload", *names)
    assert (refused.code, "--split-studies --same-patient" in refused.err) == (7, True)
    split = ("--split-studies", "-o", "json")
    assert everything("session", "upload", *names, *split).code == 7
    assert everything("session", "upload", *names, "--same-patient", "--dry-run", *split).code == 0
    done = everything("session", "upload", *names, "--same-patient", *split)
    assert done.code == 0, done.err
    assert len(done.document["studies"]) == 2
    assert everything("session", "verify", *names, *split).code == 0
    assert leaks({**PATIENT, **date, "password": PASSWORD, "private": "c4n4ry"}, everything.collect()) == []


@pytest.mark.once
@pytest.mark.parametrize("mode", ["tar", pytest.param("gradual", marks=pytest.mark.lab)])
def test_of_uploads_that_fail(everything, patient, sandbox, mode):
    upload = ("session", "upload", patient.directory, *NAMES, "--mode", mode)
    sandbox.switches.rejected_instances = set(sorted(patient.instances)[:3])
    for fault in (
        {"action": "status", "status": 403}, {"action": "status", "status": 500}, {"action": "rst"},
        {"action": "status", "status": 413}, {"action": "redirect"}, {"action": "status", "page": "login"},
        {"action": "store-then-cut", "times": 3}, {"action": "status", "status": 400, "page": "plain"},
    ):  # fmt: skip
        sandbox.faults.load([{"match": IMPORT, **fault}])
        everything(*upload, "-o", "json")
    sandbox.faults.load([{"match": IMPORT, "nth": 1, "action": "expire-session", "login": "alice"}])
    everything(*upload, env={"XNAT_PASS": PASSWORD + "x"})
    sandbox.faults.end()
    assert everything(*upload, "--no-resume").code == 6
    sandbox.switches.rejected_instances = set()
    row = everything("upload", "status", "-o", "json").document["uploads"][0]
    assert everything("upload", "resume", row["id"]).code == 0
    assert leaks({**PATIENT, "password": PASSWORD, "private": "c4n4ry"}, everything.collect()) == []


@pytest.mark.once
def test_of_sessions_on_the_server(everything, patient, sandbox, home):
    """A session token stands in the file that keeps it, and nowhere else."""
    assert everything("auth", "login").code == 0
    assert everything("session", "upload", patient.directory, *NAMES, env={"XNAT_PASS": ""}).code == 0
    tokens = [session.id for session in sandbox.accounts.open_sessions("alice")]
    assert tokens
    kept = list((home / "state" / "xnatctl" / "tokens").iterdir())
    assert any(tokens[0].encode() in path.read_bytes() for path in kept)
    assert everything("auth", "status", env={"XNAT_PASS": ""}).code == 0
    places = {place: text for place, text in everything.collect().items() if "tokens/" not in place}
    assert leaks({f"token {number}": token for number, token in enumerate(tokens)}, places) == []
    assert leaks({"password": PASSWORD}, everything.collect()) == []


SAID = (
    "unable to read DICOM object {PatientName} ({PatientID}), born {PatientBirthDate}, {AccessionNumber}: "
    "{PatientComments}, Jane Canarydoe, June Canaryjones, 1901-02-03"
).format(**PATIENT)


@pytest.mark.once
def test_of_a_server_that_repeats_them(everything, patient, sandbox):
    """Whatever it says of a file that it was sent, and of the session that it makes of them."""
    upload = ("session", "upload", patient.directory, *NAMES)
    for path, status, page, mode in (
        ("/services/import", 400, "xnat", "tar"), ("/services/import", 400, "plain", "gradual"),
        ("/services/import", 500, "xnat", "gradual"), ("/services/import", 403, "xnat", "tar"),
        ("/direct-archive", 500, "plain", "tar"), ("/projects/DEMO", 500, "xnat", "tar"),
    ):  # fmt: skip
        fault = {"match": {"path": path}, "action": "status", "status": status, "page": page, "text": SAID}
        sandbox.faults.load([fault])
        done = everything(*upload, "--mode", mode, "-o", "json")
        assert done.code, done.out
    sandbox.faults.end()
    everything(*upload, "--no-resume", "--prearchive")
    (row,) = [row for row in sandbox.state.prearchive if row.name == "e"]
    fault = {"action": "status", "status": 500, "page": "xnat", "text": SAID}
    sandbox.faults.load([{"match": {"path": "/services/archive|logs/last"}, **fault}])
    row.status = "CONFLICT"
    assert everything(*upload).code
    places = everything.collect()
    assert leaks({**PATIENT, "password": PASSWORD, "iso date": "1901-02-03"}, places) == []
    assert any(b"[patient]" in text for text in places.values())
    assert any(b"unable to read DICOM object" in text for text in places.values()), "the rest is still said"


@pytest.mark.once
@pytest.mark.parametrize("status", [0xC000, 0x0122, 0xB000])
def test_of_a_receiver_that_repeats_them(everything, patient, tmp_path, status):
    pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")
    from xnatctl_sandbox.server import Sandbox

    with Sandbox(tmp_path / "other", dicom_port=0) as receiver:
        receiver.dicom_faults.load([{"action": "status", "status": status, "comment": f"no room for {SAID}"}])
        to = ("--host", "127.0.0.1", "--port", str(receiver.dicom_port), "--called-aet", "XNAT")
        done = everything("session", "upload-dicom", patient.directory, *to, "-o", "json")
        everything("session", "upload-dicom", patient.directory, *to, "--no-resume")
        everything("upload", "status", "-o", "json")
        words = {item["reason"] or item["note"] for item in done.document["items"]}
    places = {place: text for place, text in everything.collect().items() if not place.startswith("other")}
    assert leaks({**PATIENT, "part": "Canarydoe", "id": "C4N4RY"}, places) == []
    assert any("[patient]" in word for word in words if word), words
    assert all(len(word[word.index("no room") :]) <= 64 for word in words if "no room" in (word or ""))


@pytest.mark.once
def test_of_names_of_files_labels_and_resources_in_the_log(hasty, alice, sandbox, tmp_path):
    """Such names are often those of patients: the log file holds them with -v only."""
    from xnatctl.testing.exam import write_exam

    named = {
        "file": "Canaryfile_Jane",
        "folder": "Canaryfolder_Jane",
        "subject": "Canarysubject",
        "label": "Canarylabel",
    }
    root = tmp_path / named["folder"]
    write_exam(root, series=1, instances=3, seed=9, clutter=False)
    (root / "Physio").mkdir()
    (root / "Physio" / named["file"]).write_text("1 2 3")
    where = ("-P", "DEMO", "-S", named["subject"], "-E", named["label"])
    sandbox.faults.load([{"match": IMPORT, "action": "status", "status": 500, "times": 1}])
    for verbosity, wanted in (((), False), (("-v",), True)):
        log = tmp_path / f"run{len(verbosity)}.log"
        run = (*verbosity, "--log-file", log, "--no-resume")
        assert hasty("session", "upload-exam", root, *where, *run, env=alice).code == 0
        assert hasty("session", "upload", root / "nothing", *where, *run, env=alice).code == 2
        assert hasty(
            "resource", "upload", named["label"], named["file"], root / "Physio", "-P", "DEMO", *run, env=alice
        )
        text = log.read_text()
        assert any(name in text for name in named.values()) is wanted, leaks(named, {"log": log.read_bytes()})
        assert {"run-started", "run-done"} <= {json.loads(line)["event"] for line in text.splitlines()}


ECHO = "no {password} for {basic} of {session}: {cut} {quoted} {spelled} {patient}"


@pytest.fixture
def echoing(wire_server, everything):
    """A server (or a proxy before one) that answers each import with all that it was sent to log in."""
    import html

    def words(headers):
        basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        return ECHO.format(
            password=PASSWORD,
            basic=basic,
            session=headers.get("Cookie", ""),
            cut=basic[4:-6],
            quoted=quote(basic, safe="") + quote(PASSWORD) + PASSWORD[:12],
            spelled=html.escape(PASSWORD),
            patient=PATIENT["PatientName"],
        )

    return wire_server(words)


@pytest.fixture
def wire_server(sandbox):
    """A proxy in front of the sandbox that spoils answers to imports, as told by `spoil`."""
    import http.client
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from urllib.parse import urlsplit

    servers = []

    def start(words):
        target = urlsplit(sandbox.url)

        class Proxy(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            cookies = set()
            spoil = staticmethod(lambda handler, text: (400, text.encode(), {}))

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                Proxy.cookies.add(self.headers.get("Cookie", ""))
                if "/services/import" in self.path:
                    status, content, more = Proxy.spoil(self, words(self.headers))
                    self.answer(status, content, more.items())
                    return
                upstream = http.client.HTTPConnection(target.hostname, target.port)
                upstream.request(self.command, self.path, body, dict(self.headers))
                reply = upstream.getresponse()
                content = reply.read()
                kept = [(k, v) for k, v in reply.getheaders() if k.lower() not in ("content-length", "connection")]
                self.answer(reply.status, content, kept)
                upstream.close()

            def answer(self, status, content, headers):
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, *_):
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Proxy.url = f"http://127.0.0.1:{server.server_port}"
        return Proxy

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


OBSERVER = (
    "from xnatctl.api import hookimpl\n"
    "@hookimpl\ndef xnatctl_on_event(event):\n"
    "    with open({path!r}, 'a') as file:\n        print(event.message, dict(event.data), file=file)\n"
)


@pytest.mark.once
def test_of_secrets_that_a_server_repeats(everything, patient, sandbox, echoing, install, tmp_path):
    """Whole, cut, quoted, encoded; in bodies, headers, redirects and the place of a session."""
    upload = ("session", "upload", patient.directory, *NAMES, "--workers", "1", "--mode", "gradual", "--retry-for", "0")
    observer = install("watcher", OBSERVER.format(path=str(tmp_path / "observed")))
    spoils = [
        lambda handler, text: (400, text.encode(), {}),
        lambda handler, text: (500, b"<html><h3>" + text.encode() + b"</h3></html>", {}),
        lambda handler, text: (302, b"", {"Location": f"http://alice:{quote(PASSWORD)}@{handler.headers['Host']}/x"}),
        lambda handler, text: (302, b"", {"Location": f"/{quote(text)};jsessionid=abc?x={quote(PASSWORD)}"}),
        lambda handler, text: (302, b"", {"Location": f"/patients/{PATIENT['PatientName']}/{PATIENT['PatientID']}"}),
        lambda handler, text: (200, f"/data/prearchive/projects/{quote(PASSWORD, safe='')}/1/e\r\n".encode(), {}),
        lambda handler, text: (200, f"/data/prearchive/projects/DEMO/1/{quote(PASSWORD, safe='')}".encode(), {}),
        lambda handler, text: (200, f"/data/archive/{text.replace('/', '')}".encode(), {}),
        lambda handler, text: (503, text.encode(), {"Retry-After": PASSWORD.replace(" ", "")}),
        lambda handler, text: (200, text.encode(), {"Set-Cookie": "other=abcdefgh12345678; Path=/"}),
    ]
    for spoil in spoils:
        echoing.spoil = staticmethod(spoil)
        for more in ((), ("-o", "json")):
            assert everything(*upload, *more, "--no-resume", env={"XNAT_URL": echoing.url, **observer}).code in (4, 5)
        everything("upload", "status", "-o", "json")
    places = everything.collect()
    sessions = {cookie.partition("JSESSIONID=")[2].partition(";")[0] for cookie in echoing.cookies} - {""}
    assert len(sessions) >= 20
    basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    secrets = {"password": PASSWORD, "part": PASSWORD[:12], "basic": basic[6:-8], "cookie": "abcdefgh12345678"}
    secrets |= {f"session {number}": session for number, session in enumerate(sessions)}
    found = leaks({**PATIENT, **secrets}, places)
    assert found == [], [
        (f, places[f.split(" in ", 1)[1].rsplit(" at ", 1)[0]][int(f.rsplit(" ", 1)[1]) - 150 :][:200])
        for f in found[:4]
    ]
    assert any(b"[secret]" in text for text in places.values())
    assert any(b"[patient]" in text for text in places.values())
    assert b"[secret]" in places["observed"]


_ODD = [
    "https://alice:{0}@xnat.example.org", "https://alice:12/{0}@host", "alice:{0}@host", "http://[{0}@host",
]  # fmt: skip
_ODDER = [
    "https://alice:{0}%40xnat.example.org", "https://alice:a;{0}@host", "https://alice:a?{0}@host",
    "https://alice:a#{0}@host", "https://alice:12?{0}@host", "https://alice%3A{0}%40host", "https://{0}@host",
    "https:///alice:{0}@host", "ftp://alice:{0}@host",
]  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("url", [*_ODD, *(pytest.param(url, marks=pytest.mark.lab) for url in _ODDER)])
def test_of_odd_addresses(xnatctl, tmp_path, url):
    """A password in a URL is refused, and never repeated: not by the flag, the variable, the profile or the proxy."""
    secret = "c4n4ry-pw-in-url"
    address = url.format(secret)
    folder = tmp_path / "data"
    folder.mkdir()
    for arguments, env in (
        (("session", "list", "-P", "DEMO", "--url", address), {}),
        (("session", "list", "-P", "DEMO"), {"XNAT_URL": address}),
        (("doctor",), {"XNAT_URL": address}),
        (("config", "show"), {"XNAT_URL": address}),
        (("config", "show", "-o", "json", "--url", address), {}),
        (("config", "set-profile", "odd", "--url", address), {}),
        (("auth", "status", "-v", "--log-file", tmp_path / "log"), {"XNAT_URL": address}),
        (("session", "list", "-P", "DEMO"), {"XNAT_URL": "http://127.0.0.1:9", "HTTP_PROXY": address, "NO_PROXY": ""}),
    ):
        done = xnatctl(*arguments, env={"XNAT_USER": "alice", "XNAT_PASS": "x", **env})
        assert "Traceback" not in done.err
        assert secret not in done.out + done.err, (arguments, done.out, done.err)
    assert leaks({"secret": secret}, written(tmp_path)) == []


@pytest.mark.once
@pytest.mark.parametrize("password", ["e", "at", "DEM", "DEMO", "data", "admin"])
def test_of_secrets_that_are_words(xnatctl, sandbox, exam, password):
    """A short or common password does not destroy what is printed, and a failure is still understood."""
    sandbox.state.users["alice"].password = password
    env = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": password}
    done = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json", env=env)
    assert done.code == 0, done.err
    report = done.document
    assert report["destination"]["project"] == "DEMO"
    assert report["destination"]["session"] == "e"
    assert "instances" in xnatctl("session", "upload", exam.directory, *NAMES, env=env).out
