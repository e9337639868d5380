"""The credential chain: who is asked, in which order, as whom, and what is said when nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xnatctl.errors import AuthenticationError, ConfigError, PluginUnavailable
from xnatctl.model.commands import Commands
from xnatctl.plugin.catalog import Provided
from xnatctl.plugin.credentials import (
    AliasToken,
    ClientCertificate,
    Credential,
    CredentialRequest,
    Headers,
    Password,
    SessionToken,
    user_of,
)
from xnatctl.plugin.discovery import Plugin
from xnatctl.plugin.guard import Guard
from xnatctl.plugin.guarded import GuardedSource
from xnatctl.plugin.specs import CredentialSourceSpec, Option
from xnatctl.redaction import MASK, Redactor
from xnatctl.settings.credentials import CredentialChain
from xnatctl.settings.profiles import Flags, resolve

Write = Callable[..., Path]
URL = "https://xnat.example.org"


class Sources:
    """A registry of credential sources; each is a function of the request. `asked` notes who was asked for whom."""

    def __init__(
        self,
        *known: tuple[str, Callable[[CredentialRequest], Any]],
        interactive: tuple[str, ...] = (),
        renew: Callable[[CredentialRequest, Any], Any] | None = None,
        options: tuple[Option, ...] = (),
    ) -> None:
        self._renew = renew
        self._options = options
        self.asked: list[tuple[str, str | None]] = []
        self._sources = dict(known)
        self._interactive = interactive
        self.missing: dict[str, tuple[str, ...]] = {}

    def credential_sources(self) -> list[Provided[CredentialSourceSpec]]:
        plugin = Plugin(name="inhouse", target="inhouse", distribution="inhouse-tools", version="1.2", ours=False)
        return [
            Provided(
                spec=CredentialSourceSpec(
                    name=name,
                    summary="",
                    target="x:y",
                    order=number,
                    interactive=name in self._interactive,
                    options=self._options,
                    verbs=frozenset({"get"} if self._renew is None else {"get", "renew"}),
                ),
                plugin=plugin,
                missing=self.missing.get(name, ()),
            )
            for number, name in enumerate(self._sources)
        ]

    def credential_source(self, provided: Provided[CredentialSourceSpec]) -> GuardedSource:
        registry = self

        class Source:
            def get(self, request: CredentialRequest) -> Any:
                registry.asked.append((provided.name, request.username))
                return registry._sources[provided.name](request)

            def renew(self, request: CredentialRequest, rejected: Any) -> Any:
                assert registry._renew is not None
                return registry._renew(request, rejected)

        what = f"The credential source {provided.name}"
        return GuardedSource(Guard(), what, provided.plugin, Source(), provided.spec)


class Derived(Password):
    """A type that is none of the five."""


def nothing(request: CredentialRequest) -> None:
    return None


def knows(user: str, kind: Any = "password", secret: str = "hush") -> Callable[[CredentialRequest], Credential]:
    source = f"{kind} of {user}"
    made: dict[str, Credential] = {
        "password": Password(username=user, secret=secret, source=source),
        "session": SessionToken(username=user, secret=secret, source=source),
        "token": AliasToken(alias=user, secret=secret, source=source),
    }
    return lambda request: made[kind]


def kind_of(credential: Credential) -> str:
    return {Password: "password", SessionToken: "session", AliasToken: "token"}.get(type(credential), "other")


def chain(sources: Sources, *, interactive: bool = False, fresh: bool = False, **flags: Any) -> CredentialChain:
    return CredentialChain(
        sources,  # type: ignore[arg-type]
        resolve(Flags(**{"url": URL, **flags})),
        interactive=interactive,
        redactor=Redactor(),
        fresh=fresh,
        commands=Commands(),
    )


def test_sources_are_asked_in_order_and_none_too_many() -> None:
    sources = Sources(("first", nothing), ("second", knows("bob")), ("third", knows("carol")))
    asked = chain(sources)
    assert user_of(asked()) == "bob"
    assert asked.source == "password of bob"
    assert [name for name, _ in sources.asked] == ["first", "second"]


def test_each_call_gives_the_next_and_no_source_is_asked_twice() -> None:
    sources = Sources(("a", knows("bob", "session")), ("b", knows("bob")), ("c", knows("bob", secret="other")))
    asked = chain(sources)
    assert [asked(), asked(), asked()] == [
        SessionToken(username="bob", secret="hush", source="session of bob"),
        Password(username="bob", secret="hush", source="password of bob"),
        Password(username="bob", secret="other", source="password of bob"),
    ]
    with pytest.raises(AuthenticationError):
        asked()
    assert [name for name, _ in sources.asked] == ["a", "b", "c"]


def test_the_command_line_comes_first_and_alone() -> None:
    sources = Sources(("environment", knows("me")))
    asked = chain(sources, username="other", password="typed")
    credential = asked()
    assert (credential.username, credential.secret, credential.source) == ("other", "typed", "the command line")
    with pytest.raises(AuthenticationError):
        asked()
    assert sources.asked == []


def test_a_typed_password_goes_with_the_user_of_variable_or_profile(
    monkeypatch: pytest.MonkeyPatch, write_config: Write
) -> None:
    write_config(f"profiles:\n  a: {{url: '{URL}', username: kept}}\n")
    assert chain(Sources(), password="typed")().username == "kept"
    monkeypatch.setenv("XNAT_USER", "varied")
    assert chain(Sources(), password="typed")().username == "varied"


def test_a_typed_password_without_a_user_is_an_error() -> None:
    with pytest.raises(ConfigError, match="without a user name"):
        chain(Sources(), password="typed")()


@pytest.mark.parametrize("origin", ["flag", "variable", "profile"])
def test_a_named_user_is_never_logged_in_as_another(
    origin: str, monkeypatch: pytest.MonkeyPatch, write_config: Write
) -> None:
    flags = {"username": "other"} if origin == "flag" else {}
    if origin == "variable":
        monkeypatch.setenv("XNAT_USER", "other")
    if origin == "profile":
        write_config(f"profiles:\n  a: {{url: '{URL}', username: other}}\n")
    sources = Sources(("environment", knows("me")), ("kept", knows("me", "session")), ("netrc", knows("OTHER")))
    asked = chain(sources, **flags)
    assert user_of(asked()) == "OTHER"
    assert sources.asked == [("environment", "other"), ("kept", "other"), ("netrc", "other")]
    with pytest.raises(AuthenticationError) as caught:
        asked()
    assert "as other" in caught.value.message
    assert "environment knows me" in caught.value.message


def test_a_login_with_its_provider_is_the_same_user() -> None:
    assert kind_of(chain(Sources(("kept", knows("alice", "session"))), username="ldap/Alice")()) == "session"


def test_an_alias_token_goes_with_a_kept_name_but_not_with_a_typed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(("token", knows("0a1b", "token")), ("netrc", knows("alice")))
    monkeypatch.setenv("XNAT_USER", "alice")
    assert kind_of(chain(sources)()) == "token"
    assert kind_of(chain(sources, username="alice")()) == "password"
    assert kind_of(chain(sources, username="0a1b")()) == "token"


def test_what_ended_as_one_user_is_never_continued_as_another() -> None:
    sources = Sources(
        ("kept", knows("bob", "session")),
        ("token", knows("0a1b", "token")),
        ("netrc", knows("alice")),
        ("ring", knows("bob")),
    )
    asked = chain(sources)
    assert kind_of(asked()) == "session"
    assert asked().source == "password of bob"
    assert sources.asked[1:] == [("token", "bob"), ("netrc", "bob"), ("ring", "bob")]


def test_a_session_that_ended_says_so() -> None:
    asked = chain(Sources(("kept", knows("bob", "session")), ("netrc", knows("alice"))))
    asked()
    with pytest.raises(AuthenticationError, match="as bob: the stored session has ended") as caught:
        asked()
    assert "auth login" in (caught.value.hint or "")
    assert "auth logout" in (caught.value.hint or "")


def test_a_fresh_login_uses_no_kept_session() -> None:
    sources = Sources(("kept", knows("bob", "session")), ("netrc", knows("alice")))
    assert chain(sources, fresh=True)().username == "alice"


def test_nobody_is_asked_without_a_terminal() -> None:
    sources = Sources(("prompt", knows("alice")), interactive=("prompt",))
    with pytest.raises(AuthenticationError) as caught:
        chain(sources)()
    assert caught.value.exit_code == 3
    assert "prompt needs a terminal" in caught.value.message
    assert sources.asked == []
    assert chain(sources, interactive=True)().username == "alice"


def test_with_nothing_found_the_error_names_who_was_asked_and_every_way_to_log_in() -> None:
    sources = Sources(("one", nothing), ("two", nothing), ("three", nothing))
    sources.missing["two"] = ("somewhere",)
    with pytest.raises(AuthenticationError) as caught:
        chain(sources)()
    assert URL in caught.value.message
    assert "asked: one, three" in caught.value.message
    assert "two needs somewhere" in caught.value.message
    for way in ("auth login", "XNAT_USER", "XNAT_PASS", "--username", "--password-stdin"):
        assert way in (caught.value.hint or "")


# credential_sources


def test_the_configuration_chooses_sources_and_their_order(write_config: Write) -> None:
    write_config("credential_sources: [c, a, c]\n")
    sources = Sources(("a", knows("alice")), ("b", knows("bob")), ("c", nothing))
    assert chain(sources)().username == "alice"
    assert [name for name, _ in sources.asked] == ["c", "a"]


def test_no_source_at_all_can_be_chosen(write_config: Write) -> None:
    write_config("credential_sources: []\n")
    sources = Sources(("a", knows("alice")))
    with pytest.raises(AuthenticationError, match="asked: nothing"):
        chain(sources)()
    assert sources.asked == []


def test_an_unknown_source_is_an_error_that_lists_the_known(write_config: Write) -> None:
    write_config("credential_sources: [a, netcr]\n")
    with pytest.raises(ConfigError, match="'netcr'") as caught:
        chain(Sources(("a", knows("alice")), ("netrc", nothing)))()
    assert "a, netrc" in (caught.value.hint or "")


# sources of strangers


def test_a_source_that_breaks_is_named_and_its_text_is_not_repeated() -> None:
    def breaks(request: CredentialRequest) -> Credential:
        raise RuntimeError("CANARY")

    with pytest.raises(PluginUnavailable) as caught:
        chain(Sources(("vault", breaks)))()
    message = f"{caught.value.message} {caught.value.hint}"
    for word in ("vault", "inhouse", "inhouse-tools 1.2", "RuntimeError"):
        assert word in message
    assert "CANARY" not in message
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    "answer",
    [("alice", "hush"), "hush", {"username": "alice"}, Password(username="alice", secret=""),
     Password(username="", secret="hush"), Derived(username="alice", secret="hush"),
     *(Password(username="alice", secret="hush", expires=expires)
       for expires in (10**400, 1e300, 1.7e12, float("nan"), float("-inf"), True, "soon"))],  # type: ignore[arg-type]
)  # fmt: skip
def test_a_source_that_answers_with_something_else_is_named(answer: Any) -> None:
    with pytest.raises(PluginUnavailable, match="vault"):
        chain(Sources(("vault", lambda request: answer)))()


def test_a_credential_without_an_origin_is_named_after_its_source() -> None:
    found = chain(Sources(("vault", lambda request: Password(username="alice", secret="hush"))))()
    assert found.source == "vault"


def test_an_error_of_ours_passes_as_it_is() -> None:
    def refuses(request: CredentialRequest) -> Credential:
        raise ConfigError("half a pair")

    with pytest.raises(ConfigError, match="half a pair"):
        chain(Sources(("profile", refuses)))()


def test_every_secret_is_registered_before_it_is_given() -> None:
    redactor = Redactor()
    sources = Sources(("a", knows("bob", "session", "the-first")), ("b", knows("bob", secret="the-second")))
    asked = CredentialChain(
        sources,  # type: ignore[arg-type]
        resolve(Flags(url=URL)),
        interactive=False,
        redactor=redactor,
        commands=Commands(),
    )
    asked()
    assert redactor.redact("the-first the-second") == f"{MASK} the-second"
    asked()
    assert redactor.redact("the-first the-second") == f"{MASK} {MASK}"


def test_the_request_names_server_and_profile(write_config: Write) -> None:
    write_config(f"profiles:\n  site: {{url: '{URL}/', username: me, timeout: 5}}\n")
    seen: list[CredentialRequest] = []

    def look(request: CredentialRequest) -> None:
        seen.append(request)

    with pytest.raises(AuthenticationError):
        CredentialChain(
            Sources(("look", look)),  # type: ignore[arg-type]
            resolve(Flags()),
            interactive=False,
            redactor=Redactor(),
            commands=Commands(),
        )()
    (request,) = seen
    assert (request.server, request.username, request.profile_name) == (URL, "me", "site")
    assert request.profile["timeout"] == 5


# renewal


def gives(credential: Any) -> Callable[[CredentialRequest, Any], Any]:
    return lambda request, rejected: credential


def test_a_renewal_asks_the_source_of_the_last_credential_with_what_was_rejected() -> None:
    seen: list[tuple[CredentialRequest, Credential]] = []

    def renew(request: CredentialRequest, rejected: Credential) -> Credential:
        seen.append((request, rejected))
        return knows("bob", secret="renewed")(request)

    asked = chain(Sources(("a", knows("bob", "session")), ("b", knows("bob")), renew=renew))
    asked()
    second = asked()
    renewed = asked.renew(second, refused=True)
    assert renewed == Password(username="bob", secret="renewed", source="password of bob")
    ((request, rejected),) = seen
    assert (request.username, rejected) == ("bob", second)
    assert asked.given is renewed


def test_a_source_without_the_verb_and_the_command_line_renew_nothing() -> None:
    asked = chain(Sources(("a", knows("bob"))))
    assert asked.renew(asked(), refused=True) is None
    typed = chain(Sources(), username="bob", password="typed")
    assert typed.renew(typed(), refused=True) is None


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "the credential source vault has no other one"),
        (
            Password(username="bob", secret="hush", source="a safe"),
            "credential source vault returned the same one again",
        ),
        (Password(username="bob", secret="new", expires=1.0), "has expired, too"),
        (Password(username="carol", secret="new"), "returned one of another user, carol"),
    ],
)
def test_a_renewal_without_another_credential_is_an_error_of_the_login(answer: Any, says: str, refused: bool) -> None:
    asked = chain(Sources(("vault", knows("bob")), renew=gives(answer)), username="bob")
    given = asked()
    if says.endswith("again") and not refused:
        assert asked.renew(given, refused=False) == answer, "its time was extended"
        return
    with pytest.raises(AuthenticationError, match=says) as caught:
        asked.renew(given, refused=refused)
    assert caught.value.exit_code == 3
    assert ("does not accept" if refused else "has expired, and") in caught.value.message
    assert "hush" not in caught.value.message


def test_a_certificate_that_was_replaced_in_its_file_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    file.write_text("first")
    credential = ClientCertificate(certificate=str(file), source="a file")
    asked = chain(Sources(("vault", lambda request: credential), renew=gives(credential)))
    given = asked()
    with pytest.raises(AuthenticationError, match="same one again"):
        asked.renew(given, refused=True)
    file.write_text("second")
    assert asked.renew(given, refused=True) == credential


@pytest.mark.parametrize("answer", ["hush", Password(username="bob", secret="")])
def test_a_renewal_that_is_no_credential_names_the_plugin(answer: Any) -> None:
    asked = chain(Sources(("vault", knows("bob")), renew=gives(answer)))
    with pytest.raises(PluginUnavailable, match=r"vault.*inhouse"):
        asked.renew(asked(), refused=True)


def test_a_renewal_that_breaks_is_named_and_its_text_is_not_repeated() -> None:
    def renew(request: CredentialRequest, rejected: Credential) -> Credential:
        raise RuntimeError("CANARY")

    asked = chain(Sources(("vault", knows("bob")), renew=renew))
    with pytest.raises(PluginUnavailable, match="RuntimeError") as caught:
        asked.renew(asked(), refused=True)
    assert "CANARY" not in caught.value.message


# headers and certificates


def test_headers_are_for_the_named_user_and_masked() -> None:
    redactor = Redactor()
    secret = Headers(headers={"Authorization": "Bearer CANARY-TOKEN", "Cookie": "GATE=CANARY-COOKIE; x=1"})
    asked = CredentialChain(
        Sources(("vault", lambda request: secret)),  # type: ignore[arg-type]
        resolve(Flags(url=URL, username="alice")),
        interactive=False,
        redactor=redactor,
        commands=Commands(),
    )
    assert user_of(asked()) == "alice"
    assert redactor.redact("CANARY-TOKEN CANARY-COOKIE true") == f"{MASK} {MASK} true"
    assert "CANARY" not in repr(secret)


# options


OPTIONS = (
    Option(name="address", help="The vault.", required=True, envvar="VAULT_ADDR"),
    Option(name="tries", help="How often.", type=int, default=3),
    Option(name="token", help="The login to the vault.", secret=True),
)


def with_options(seen: list[CredentialRequest]) -> Sources:
    def look(request: CredentialRequest) -> Credential:
        seen.append(request)
        return knows("bob")(request)

    return Sources(("vault", look), options=OPTIONS)


def test_options_come_from_variable_profile_and_default(monkeypatch: pytest.MonkeyPatch, write_config: Write) -> None:
    section = "credentials: {vault: {address: 'https://kept', token: hush-hush}}"
    write_config(f"profiles:\n  a: {{url: '{URL}', {section}}}\n")
    seen: list[CredentialRequest] = []
    chain(with_options(seen))()
    assert seen[0].options == {"address": "https://kept", "tries": 3, "token": "hush-hush"}
    assert "hush" not in repr(seen[0])
    monkeypatch.setenv("VAULT_ADDR", "https://varied")
    chain(with_options(seen))()
    assert seen[1].options["address"] == "https://varied"


def test_a_source_that_is_not_configured_is_passed_over(write_config: Write) -> None:
    seen: list[CredentialRequest] = []
    with pytest.raises(AuthenticationError, match="vault is not configured"):
        chain(with_options(seen))()
    assert seen == []


@pytest.mark.parametrize(
    ("section", "says", "hint"),
    [
        ("{adress: x}", "no option adress", "Did you mean address?"),
        ("{zzz: x}", "no option zzz", "address, tries, token"),
        ("{tries: many}", "tries .* must be a whole number", None),
        ("{tries: 2}", "needs a value for address", "VAULT_ADDR"),
    ],
)
def test_a_wrong_section_is_an_error_of_the_configuration(
    section: str, says: str, hint: str | None, write_config: Write
) -> None:
    write_config(f"profiles:\n  a: {{url: '{URL}', credentials: {{vault: {section}}}}}\n")
    with pytest.raises(ConfigError, match=says) as caught:
        chain(with_options([]))()
    assert hint is None or hint in (caught.value.hint or "")


def test_a_wrong_section_is_found_although_another_source_comes_first(write_config: Write) -> None:
    write_config(f"profiles:\n  a: {{url: '{URL}', credentials: {{vault: {{adress: x}}}}}}\n")
    with pytest.raises(ConfigError, match="no option adress"):
        chain(Sources(("a", knows("bob")), ("vault", nothing), options=OPTIONS))()


def test_the_options_of_a_profile_are_for_its_own_server(write_config: Write) -> None:
    write_config("profiles:\n  a: {url: 'https://other.example.org', credentials: {vault: {address: x}}}\n")
    seen: list[CredentialRequest] = []
    with pytest.raises(AuthenticationError, match="not configured"):
        chain(with_options(seen))()


def test_the_variables_of_options_are_for_the_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret of one server's vault must not reach the server that a flag names."""
    monkeypatch.setenv("XNAT_URL", "https://other.example.org")
    monkeypatch.setenv("VAULT_ADDR", "https://vault")
    seen: list[CredentialRequest] = []
    with pytest.raises(AuthenticationError, match="not configured"):
        chain(with_options(seen))()
    assert seen == []
