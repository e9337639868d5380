"""The log: no secret in any encoding, private from the first moment, and never a reason to stop."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from systems import assert_private, needs_fifos

from xnatctl.log import Log, _Bridge
from xnatctl.redaction import Redactor

CANARY = 'p@ss "wörd" \\ 50% &co'


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def log(redactor: Redactor) -> Iterator[Log]:
    made = Log(redactor)
    yield made
    made.quieten()
    made.close()


def encodings(secret: str, user: str = "alice") -> dict[str, str]:
    pair, raw = f"{user}:{secret}".encode(), secret.encode()
    return {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "path": quote(secret),
        "form": quote_plus(secret),
        "json": json.dumps(secret),
        "json as text": json.dumps(secret, ensure_ascii=False),
        "python": repr(secret),
        "basic": base64.b64encode(pair).decode(),
        "url-safe basic": base64.urlsafe_b64encode(pair).decode(),
        "base64": base64.b64encode(raw).decode(),
        "json in json": json.dumps(json.dumps(secret))[3:-3],
    }


@pytest.mark.parametrize("name", [name for name in encodings("x") if name != "json in json"])
def test_no_encoding_of_a_secret_passes(name: str, redactor: Redactor) -> None:
    redactor.register_secret(CANARY, "alice")
    form = encodings(CANARY)[name]
    assert form.strip("\"'") not in redactor.redact(f"before {form} after")
    assert redactor.redact(f"before {form} after").startswith("before ")
    assert redactor.redact(f"before {form} after").endswith(" after")


@given(secret=st.text(min_size=4, max_size=30), user=st.text(min_size=1, max_size=10))
def test_any_secret_is_masked_in_any_text(secret: str, user: str) -> None:
    redactor = Redactor()
    redactor.register_secret(secret, user)
    for form in (secret, quote(secret, safe=""), base64.b64encode(f"{user}:{secret}".encode()).decode().rstrip("=")):
        if form not in "before [secret] after":
            assert form not in redactor.redact(f"before {form} after")


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", "!", "\n", " and more"])
def test_a_secret_inside_an_encoded_text_is_masked(before: str, after: str, redactor: Redactor) -> None:
    """As a plugin writes `user:secret`, where the redactor knows no user."""
    redactor.register_secret(CANARY)
    raw = f"{before}{CANARY}{after}".encode()
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        shown = redactor.redact(encoded.decode())
        assert "[secret]" in shown
        assert len(shown.replace("[secret]", "")) <= len(base64.b64encode(f"{before}{after}".encode())) + 4
    for shown in (redactor.redact(raw.hex()), redactor.redact(raw.hex().upper())):
        assert shown.lower() == f"{before.encode().hex()}[secret]{after.encode().hex()}"


def test_a_secret_that_is_not_utf8_is_masked(redactor: Redactor) -> None:
    redactor.register_secret("pass\udcff", "alice")
    for form in ("pass\udcff", "pass%FF", base64.b64encode(b"alice:pass\xff").decode()):
        assert form not in redactor.redact(f"before {form} after")


def test_a_secret_too_short_to_mask_is_still_masked_in_http_basic(redactor: Redactor) -> None:
    redactor.register_secret("ab", "alice")
    assert base64.b64encode(b"alice:ab").decode() not in redactor.redact(
        "Basic " + base64.b64encode(b"alice:ab").decode()
    )
    assert redactor.redact("about") == "about"


@pytest.mark.parametrize(
    "line",
    ["Set-Cookie: JSESSIONID=CANARY0; Path=/", "Cookie: JSESSIONID=CANARY0", "(b'Set-Cookie', b'JSESSIONID=CANARY0; x')",
     'jsessionid="CANARY0"', "{'Authorization': 'Basic CANARY0=='}", "authorization: bearer CANARY0", "?XNAT_CSRF=CANARY0",
     '{"cookie": "CANARY0"}', "Authorization: CANARY0"],
)  # fmt: skip
def test_sessions_are_masked_before_anybody_knows_them(line: str, redactor: Redactor) -> None:
    assert "CANARY0" not in redactor.redact(line)


def test_ordinary_words_stay(redactor: Redactor) -> None:
    text = "The cookie was refused; no authorization for project A"
    assert redactor.redact(text) == text


def test_the_log_is_json_lines_without_secrets_however_deep(tmp_path: Path, redactor: Redactor, log: Log) -> None:
    redactor.register_secret(CANARY, "alice")
    file = tmp_path / "log"
    log.configure(str(file), verbose=1)
    for form in encodings(CANARY).values():
        said = f"said {form}"
        log.info(said, nested={"a": [form, (form,)], form: 1}, error=ValueError(form), raw=form.encode())
    try:
        raise ValueError(CANARY)
    except ValueError:
        log.log(logging.ERROR, "failed", exc_info=True)
    text = file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == len(encodings("")) + 1
    assert lines[0]["level"] == "info"
    assert lines[0]["timestamp"].endswith("Z")
    assert "ValueError" in lines[-1]["exception"]
    decoded = json.dumps(lines, ensure_ascii=False)
    for form in encodings(CANARY).values():
        assert form.strip("\"'") not in text
        assert form.strip("\"'") not in decoded


def test_the_file_is_private_whatever_the_umask_and_is_added_to(tmp_path: Path, no_umask: None, log: Log) -> None:
    file = tmp_path / "log"
    for _ in range(2):
        log.configure(str(file), verbose=0)
        log.info("once")
    assert_private(file)
    assert len(file.read_text().splitlines()) == 2


def test_a_log_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path, log: Log) -> None:
    with pytest.raises(FileNotFoundError):
        log.configure(str(tmp_path / "absent" / "log"), verbose=0)


@needs_fifos
def test_a_log_does_not_wait_for_the_reader_of_a_pipe(tmp_path: Path, log: Log) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        log.configure(str(tmp_path / "pipe"), verbose=0)  # nobody reads it: opening must not wait


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_said_once_and_stops_nothing(capsys: pytest.CaptureFixture[str], log: Log) -> None:
    log.configure("/dev/full", verbose=0)
    for number in range(5):
        log.info("line", number=number)
    assert capsys.readouterr().err.count("misses lines: No space left on device") == 1


def test_verbose_writes_for_people_on_stderr(capsys: pytest.CaptureFixture[str], redactor: Redactor, log: Log) -> None:
    redactor.register_secret(CANARY, "alice")
    log.configure(None, verbose=1)
    log.info("a\x1b[31m\nb", path="x\ny", data={"secret": CANARY})
    log.debug("about one file")
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "info a\\u001b[31m\\nb" in err
    assert 'path="x\\ny"' in err
    assert 'secret="[secret]"' in err


def test_twice_verbose_shows_single_files_too(capsys: pytest.CaptureFixture[str], log: Log) -> None:
    log.configure(None, verbose=2)
    log.debug("about one file")
    assert "debug about one file" in capsys.readouterr().err


def test_without_a_log_everything_is_silent(capsys: pytest.CaptureFixture[str], log: Log) -> None:
    log.configure(None, verbose=0)
    log.error("nothing")
    log.log(logging.ERROR, "nothing")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["httpx", "httpcore", "httpcore.http11", "pydicom", "pynetdicom", "pynetdicom.acse"])
@pytest.mark.parametrize("verbose", [0, 1])
def test_libraries_are_silent_below_vv(
    name: str,
    verbose: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    log: Log,
) -> None:
    log.configure(str(tmp_path / "log"), verbose=verbose)
    logging.getLogger(name).critical("CANARY")
    assert "CANARY" not in "".join(capsys.readouterr())
    assert "CANARY" not in (tmp_path / "log").read_text()
    assert not caplog.records


def test_vv_lets_libraries_speak_through_our_log_but_not_of_cookies_or_patients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redactor: Redactor, log: Log
) -> None:
    redactor.register_secret(CANARY)
    log.configure(str(tmp_path / "log"), verbose=2)
    logging.getLogger("httpx").info("HTTP Request: %s", CANARY)
    logging.getLogger("httpcore.http11").debug("headers COOKIES")
    logging.getLogger("pydicom").warning("Invalid value for VR PN: PATIENTS")
    logging.getLogger("pynetdicom.acse").debug("data set PATIENTS")
    logging.getLogger("pynetdicom.acse").info("Association accepted")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["logger"], line["event"]) for line in lines] == [
        ("httpx", "HTTP Request: [secret]"),
        ("pynetdicom.acse", "Association accepted"),
    ]
    assert capsys.readouterr().err.count("\n") == 2


def test_a_library_line_that_cannot_be_made_stops_nothing(tmp_path: Path, log: Log) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    log.configure(str(tmp_path / "log"), verbose=2)
    # By hand: the logger itself would hand the line to pytest's handlers as well.
    _Bridge(log).emit(logging.LogRecord("httpx", logging.INFO, "", 0, "%s", (Unprintable(),), None))
    assert (tmp_path / "log").read_text() == ""


def test_structlog_is_not_imported_for_nothing(run_python: Any) -> None:
    done = run_python(
        "import sys; from xnatctl.log import Log; from xnatctl.redaction import Redactor; log = Log(Redactor()); "
        "log.configure(None, verbose=0); log.info('x'); "
        "print('structlog' in sys.modules)"
    )
    assert done == "False"
