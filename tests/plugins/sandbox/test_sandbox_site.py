"""The site: what who may read, tokens, sessions, browsers (xnat-api 1, 6)."""

from __future__ import annotations

import re

import pytest

BROWSER = {"User-Agent": "Mozilla/5.0"}


def test_settings_by_who_may_read_them(http_call, sandbox):
    get = lambda key, user: http_call("GET", f"/xapi/siteConfig/{key}", user=user)  # noqa: E731
    assert get("siteId", None).text == "XNAT"
    assert get("checksums", None).status == 401
    for key in ("checksums", "zipExtensions", "defaultProjectAutoArchiveSetting", "enableSitewideAnonymizationScript"):
        assert get(key, "bob").status == 200
    for key in ("sessionTimeout", "concurrentMaxSessions", "maxFailedLogins", "requireLogin"):
        assert (get(key, "bob").status, get(key, "admin").status) == (403, 200)
    assert get("nonsense", "admin").status == 404
    everything = http_call("GET", "/xapi/siteConfig", user="bob").json
    assert "checksums" in everything
    assert "requireLogin" not in everything
    assert http_call("GET", "/xapi/siteConfig/uptime", user="bob").status == 200
    sandbox.state.site["requireLogin"] = False
    assert set(http_call("GET", "/xapi/siteConfig", user=None).json) <= {
        "siteId",
        "siteUrl",
        "siteHome",
        "siteLogoPath",
    }
    assert http_call("GET", "/xapi/siteConfig/checksums", user=None).status == 401


def test_an_open_site_takes_guests_for_guests(http_call, sandbox):
    sandbox.state.site["requireLogin"] = False
    assert http_call("GET", "/data/auth", user=None).text == "User 'guest' is logged in"
    assert http_call("GET", "/data/projects", user=None).rows == []
    assert http_call("GET", "/data/services/tokens/issue", user=None).status == 403
    sandbox.state.projects["DEMO"].accessibility = "public"
    assert [row["ID"] for row in http_call("GET", "/data/projects", user=None).rows] == ["DEMO"]


def test_versions(http_call):
    assert http_call("GET", "/xapi/siteConfig/buildInfo", user=None).json["version"] == "1.8.11"
    assert http_call("GET", "/xapi/siteConfig/buildInfo/version", user=None).status == 401
    assert http_call("GET", "/xapi/siteConfig/buildInfo/version").text == "1.8.11"
    assert http_call("GET", "/data/version").status == 404


def test_tokens(http_call, sandbox):
    token = http_call("GET", "/data/services/tokens/issue").json
    assert {
        "alias",
        "secret",
        "xdatUserId",
        "singleUse",
        "estimatedExpirationTime",
        "validIPAddresses",
        "id",
        "enabled",
        "created",
        "timestamp",
        "disabled",
    } <= set(token)
    assert len(token["secret"]) == 64
    login = {"user": token["alias"], "password": token["secret"]}
    assert http_call("GET", "/xapi/users/username", **login).text == "alice"
    path = f"/data/services/tokens/{{}}/{token['alias']}"
    assert http_call("GET", f"{path.format('validate')}/{token['secret']}").json == {"valid": "alice"}
    assert http_call("GET", f"{path.format('validate')}/wrong").json == {"valid": None}
    assert http_call("GET", path.format("validate")).status == 401
    assert http_call("GET", "/data/services/tokens/validate/no/body").status == 404
    assert http_call("GET", path.format("invalidate"), user="bob").status == 403
    assert http_call("GET", "/data/services/tokens/issue/user/bob").status == 403
    assert http_call("GET", "/data/services/tokens/issue/user/bob", user="admin").json["xdatUserId"] == "bob"
    assert http_call("GET", "/data/services/tokens/nonsense").status == 400
    assert http_call("GET", path.format("invalidate")).json == {"result": "OK"}
    assert http_call("GET", "/data/auth", **login).status == 401
    again = http_call("GET", "/data/services/tokens/issue").json
    sandbox.advance_clock(2 * 86400 + 1)
    assert http_call("GET", "/data/auth", user=again["alias"], password=again["secret"]).status == 401, "two days old"


def test_open_sessions_can_be_listed_and_ended(http_call):
    token = http_call("POST", "/data/JSESSION").text
    assert token in http_call("GET", "/xapi/users/active/alice").json
    assert http_call("GET", "/xapi/users/active/alice", user="bob").status == 403
    assert http_call("DELETE", "/xapi/users/active/alice", user="admin").status == 200
    assert http_call("GET", "/data/auth", user=None, headers={"Cookie": f"JSESSIONID={token}"}).status == 401


def test_a_provider_that_is_not_there(http_call):
    send = lambda **fields: http_call(  # noqa: E731
        "PUT", "/data/services/auth", user=None, kind="text/plain",
        body="&".join(f"{key}={value}" for key, value in fields.items()).encode(),
    )  # fmt: skip
    assert send(username="alice", password="alice", provider="localdb").status == 200
    assert send(username="alice", password="alice", provider="ldap").status == 400
    refused = send(username="alice", password="wrong")
    assert (refused.status, "<h3>Authentication failed.</h3>" in refused.text) == (401, True)
    assert http_call("GET", "/data/services/auth", user=None).status == 404


def test_cookies_of_an_https_site_are_secure(http_call, sandbox):
    assert not any("Secure" in c for c in http_call("POST", "/data/JSESSION").headers.get_all("Set-Cookie"))
    sandbox.state.site["siteUrl"] = "https://xnat.example"
    assert all("; Secure" in c for c in http_call("POST", "/data/JSESSION").headers.get_all("Set-Cookie"))


def test_a_browser_must_send_the_token_of_its_session(http_call):
    """Scripts are exempt; a miss is a 500 (1.6)."""
    session = http_call("POST", "/data/JSESSION", query={"CSRF": "true"}).text
    token, csrf = re.fullmatch(r"(\w+); XNAT_CSRF=(\S+)", session).groups()
    cookie = {"Cookie": f"JSESSIONID={token}"}
    path = "/data/projects/DEMO/subjects/{}"

    def send(name, agent, **query):
        headers = {**cookie, "User-Agent": agent}
        return http_call("PUT", path.format(name), user=None, headers=headers, query=query).status

    assert send("s1", "python-requests/2") == 201
    assert send("s2", "Mozilla/5.0") == 500
    assert send("s2", "Mozilla/5.0", XNAT_CSRF="wrong") == 500
    assert send("s2", "Mozilla/5.0", XNAT_CSRF=csrf) == 201
    assert send("s3", "Mozilla/5.0 XNATDesktopClient/3") == 201
    page = http_call("GET", "/", user=None, headers={**cookie, **BROWSER})
    assert f"var csrfToken = '{csrf}'" in page.text


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_an_expired_password_redirects_every_method(http_call, sandbox, method):
    sandbox.state.users["alice"].expired_password = True
    answer = http_call(method, "/data/projects/DEMO")
    assert (answer.status, answer.headers["Location"].endswith("XDATScreen_UpdateUser.vm")) == (302, True)
