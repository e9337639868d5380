"""Server URLs: one form for all, none with a password in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.errors import ConfigError
from xnatctl.settings.server import is_plain_text, server_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://xnat.example.org", "https://xnat.example.org"),
        ("https://XNAT.Example.org:443/", "https://xnat.example.org"),
        ("http://xnat.example.org:80/xnat/", "http://xnat.example.org/xnat"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://xnat.example.org:80", "https://xnat.example.org:80"),
        ("  https://xnat.example.org/A/b//", "https://xnat.example.org/A/b"),
        ("HTTPS://xnat.example.org", "https://xnat.example.org"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_the_form_that_is_compared(text: str, expected: str) -> None:
    assert server_url(text, "flag --url") == expected
    assert server_url(expected, "flag --url") == expected


@pytest.mark.parametrize(
    "text",
    ["", "xnat.example.org", "ftp://xnat.example.org", "https://", "https://h:abc", "https://h:99999", "https://a b",
     "https://h/x\x1b[0m", "https://[::1", "https://h/?page=1", "https://h/#top"],
)  # fmt: skip
def test_what_is_no_server_is_refused_by_name_of_its_origin(text: str) -> None:
    with pytest.raises(ConfigError, match="variable XNAT_URL") as caught:
        server_url(text, "variable XNAT_URL")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    ["https://me:hunter2@h", "https://hunter2@h", "https://me:hunter2@h:port", "me:hunter2@h", "ftp://me:hunter2@h",
     "https://h/?password=hunter2@", "https://@h"],
)  # fmt: skip
def test_a_user_in_the_url_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server_url(text, "flag --url")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "xnat.localhost", "LOCALHOST"])
def test_http_to_this_machine_is_nothing_to_warn_about(host: str) -> None:
    assert not is_plain_text(server_url(f"http://{host}:80", "x"))


@pytest.mark.parametrize(
    "host", ["xnat.example.org", "10.0.0.1", "[2001:db8::1]", "localhost.example.org", "127.1.example"]
)
def test_http_to_another_machine_is_plain_text(host: str) -> None:
    assert is_plain_text(server_url(f"http://{host}", "x"))
    assert not is_plain_text(server_url(f"https://{host}", "x"))


@given(st.text(max_size=40))
def test_any_text_is_a_server_or_a_configuration_error(text: str) -> None:
    for candidate in (text, f"https://{text}"):
        try:
            url = server_url(candidate, "x")
        except ConfigError:
            continue
        assert server_url(url, "x") == url
        assert "@" not in url.split("/")[2]
