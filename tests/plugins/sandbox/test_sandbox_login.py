"""Logging in as XNAT has it (xnat-api 1): what looks like success and is none."""

from __future__ import annotations


def test_jsession_answers_guests_and_proves_nothing(http_call):
    answer = http_call("GET", "/data/JSESSION", user=None)
    assert answer.status == 200
    assert len(answer.text) == 32
    assert http_call("GET", "/data/auth", user=None, headers={"Cookie": f"JSESSIONID={answer.text}"}).status == 401


def test_wrong_basic_is_401_everywhere_without_a_challenge(http_call):
    for path in ("/data/JSESSION", "/data/projects", "/xapi/siteConfig/buildInfo"):
        answer = http_call("GET", path, password="wrong")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] is None


def test_scripts_get_a_challenge_browsers_the_login_page(http_call):
    answer = http_call("GET", "/data/projects", user=None)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="XNAT"')
    answer = http_call("GET", "/data/projects", user=None, headers={"User-Agent": "Mozilla/5.0"})
    assert answer.status == 302
    assert answer.headers["Location"].endswith("Login.vm")


def test_both_cookies_the_second_in_quotes(http_call):
    answer = http_call("POST", "/data/JSESSION")
    cookies = answer.headers.get_all("Set-Cookie")
    assert any(c.startswith("JSESSIONID=") and "HttpOnly" in c for c in cookies)
    (expiry,) = [c for c in cookies if c.startswith("SESSION_EXPIRATION_TIME=")]
    assert expiry.split(";")[0].count('"') == 2
    assert expiry.split('"')[1].endswith(",900000")


def test_a_session_ends_by_delete_and_by_time(http_call, sandbox):
    for end in ("delete", "time"):
        token = http_call("POST", "/data/JSESSION").text
        cookie = {"Cookie": f"JSESSIONID={token}"}
        assert http_call("GET", "/data/auth", user=None, headers=cookie).text == "User 'alice' is logged in"
        if end == "delete":
            assert http_call("DELETE", "/data/JSESSION", user=None, headers=cookie).status == 200
        else:
            sandbox.advance_clock(901)
        assert http_call("GET", "/data/auth", user=None, headers=cookie).status == 401


def test_every_cookieless_request_is_a_session_and_too_many_lock_out(http_call, sandbox):
    sandbox.state.site["concurrentMaxSessions"] = 3
    for _ in range(3):
        assert http_call("GET", "/data/projects").status == 200
    refused, wrong = http_call("GET", "/data/projects"), http_call("GET", "/data/projects", password="x")
    assert refused.status == wrong.status == 401
    assert refused.body == wrong.body, "nobody can tell them apart"


def test_twenty_failures_lock_the_account(http_call, sandbox):
    for _ in range(20):
        assert http_call("GET", "/data/auth", password="wrong").status == 401
    assert http_call("GET", "/data/auth").status == 401
    sandbox.advance_clock(3601)
    assert http_call("GET", "/data/auth").status == 200


def test_an_expired_password_redirects_every_method(http_call, sandbox):
    sandbox.state.users["alice"].expired_password = True
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = http_call(method, "/data/projects")
        assert answer.status == 302
        assert "XDATScreen_UpdateUser" in answer.headers["Location"]


def test_alias_tokens(http_call):
    token = http_call("GET", "/data/services/tokens/issue").json
    assert (
        http_call("GET", "/data/auth", user=token["alias"], password=token["secret"]).text
        == "User 'alice' is logged in"
    )
    assert http_call("GET", f"/data/services/tokens/invalidate/{token['alias']}").json == {"result": "OK"}
    assert http_call("GET", "/data/auth", user=token["alias"], password=token["secret"]).status == 401


def test_services_auth(http_call):
    good = http_call("PUT", "/data/services/auth", user=None, body="username=alice&password=alice")
    assert good.status == 200
    bad = http_call("PUT", "/data/services/auth", user=None, body="username=alice&password=no")
    assert bad.status == 401
    assert "<h3>Authentication failed.</h3>" in bad.text
    assert http_call("GET", "/data/services/auth", user=None).status == 404


def test_what_is_open_and_what_is_not(http_call):
    assert http_call("GET", "/xapi/siteConfig/buildInfo", user=None).json["version"] == "1.8.11"
    assert http_call("GET", "/xapi/siteConfig/buildInfo/version", user=None).status == 401
    assert http_call("GET", "/xapi/siteConfig/checksums").text == "true"
    assert http_call("GET", "/xapi/siteConfig/concurrentMaxSessions").status == 403
    assert http_call("GET", "/xapi/users/username").text == "alice"
    assert http_call("GET", "/data/version").status == 404
    assert set(http_call("GET", "/xapi/users/projects").json) == {"DEMO", "MANUAL"}
