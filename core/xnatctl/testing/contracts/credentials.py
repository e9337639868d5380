"""The contract of credential sources."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from xnatctl.plugin.credentials import (
    Credential,
    CredentialRequest,
    CredentialSource,
    SessionToken,
    problem_of,
    secrets_of,
    user_of,
)
from xnatctl.testing.contracts.base import Contract, required_without_value, with_defaults
from xnatctl.testing.contracts.sending import in_parallel
from xnatctl.testing.watch import Mistake, expect

_VERBS = frozenset({"get", "renew", "check", "store", "erase"})
#: A server that no source knows (RFC 6761: `.invalid` never exists).
_UNKNOWN = "https://unknown.invalid"


class CredentialSourceContract(Contract):
    """For credential sources.

    ::

        class TestVault(CredentialSourceContract):
            spec = VAULT
            request = CredentialRequest(server="https://xnat.example.org", username="alice")
            expected = Password(username="alice", secret="of the vault of the test")

            @pytest.fixture(autouse=True)
            def vault(self): ...         # makes a vault that has it

    `expected` is what the source returns for `request`. A source that stores needs neither.
    """

    request: ClassVar[CredentialRequest] = CredentialRequest(server="https://xnat.invalid", username="alice")
    expected: ClassVar[Credential | None] = None
    options: Mapping[str, Any] = MappingProxyType({})

    def make(self) -> CredentialSource:
        """The source, as core makes it."""
        made: CredentialSource = self.target()
        return made

    @property
    def verbs(self) -> frozenset[str]:
        """What the spec says that it offers; without a spec, what it has."""
        if self.spec is not None:
            return frozenset(self.spec.verbs)
        source = self.make()
        return frozenset(name for name in _VERBS if callable(getattr(source, name, None)))

    def asked(self, **changes: Any) -> CredentialRequest:
        """`request` with a value for every option, and changes."""
        declared = () if self.spec is None else self.spec.options
        values = with_defaults(declared, {**self.request.options, **self.options})
        missing = required_without_value(self.spec, values)
        self.require(not missing, f"set `options`: the option {missing[:1]} is required")
        return replace(self.request, **{"options": values, **changes})

    def get(self, request: CredentialRequest, source: Any = None) -> Credential | None:
        """Ask, watched."""
        with self.calling("target", network=False, allowed=()):
            asked: Any = source or self.make()
        with self.calling("get"):
            found: Any = asked.get(request)
        return self.checked("get", found, request)

    def checked(self, verb: str, found: Any, request: CredentialRequest) -> Credential | None:
        """A credential that can be used, of the user of the request; or None."""
        if found is None:
            return None
        if problem := problem_of(found):
            raise Mistake(f"`{verb}` returned what cannot be used: {problem}; return None where there is nothing")
        credential: Credential = found
        user = user_of(credential)
        if request.username and user and user.lower() != request.username.lower():
            raise Mistake(
                f"`{verb}` returned a credential of another user ({user}) than the one that was asked for "
                f"({request.username}); return None"
            )
        for _, secret in secrets_of(credential):
            shown = secret != user and secret in repr(credential)
            expect(not shown, "the repr of the credential contains the secret")
        return credential

    def test_its_verbs_are_methods(self) -> None:
        """`verbs` of the spec names methods that exist."""
        source = self.make()
        for verb in self.verbs:
            expect(verb in _VERBS, f"the spec names the unknown verb {verb!r}; there are {', '.join(sorted(_VERBS))}")
            expect(
                callable(getattr(source, verb, None)), f"the spec names the verb {verb}, and there is no such method"
            )
        expect("get" in self.verbs, "the spec does not name the verb get")

    def test_it_has_nothing_for_an_unknown_server_and_says_so_by_none(self) -> None:
        """None, and no error: the next source is asked."""
        if self.options or (self.spec is not None and self.spec.options):
            pytest.skip("core asks it only for a server whose profile sets its options")
        request = self.asked(server=_UNKNOWN, username="nobody", profile={}, profile_name=None)
        found = self.get(request)
        expect(found is None, "`get` returned a credential for a server that it cannot know; it would be sent there")

    def test_it_finds_what_it_has(self) -> None:
        """The positive case: `expected` for `request`."""
        if self.expected is None:
            self.require(
                "store" in self.verbs,
                "set `request` and `expected`: a source that never finds anything would pass this contract",
            )
            pytest.skip("what it stores is looked for in another test")
        found = self.get(self.asked())
        expect(found is not None, "`get` found nothing for `request`, and `expected` says that it should")
        assert found is not None
        expect(
            type(found) is type(self.expected),
            f"`get` returned {type(found).__name__}, and `expected` is {type(self.expected).__name__}",
        )
        for entry in fields(found):
            if entry.name not in ("source", "expires"):
                same = getattr(found, entry.name) == getattr(self.expected, entry.name)
                expect(same, f"the field {entry.name} of the credential is not that of `expected`")

    def test_two_workers_ask_at_once(self) -> None:
        """Sources are asked again when a session ends, perhaps by two workers."""
        if self.spec is not None and self.spec.interactive:
            pytest.skip("it asks a person")
        found: list[Credential | None] = []
        lock = threading.Lock()
        request = self.asked() if self.expected is not None else self.asked(server=_UNKNOWN)

        def ask() -> None:
            one: Any = self.make().get(request)
            with lock:
                found.append(one)

        with self.calling("get, by two workers at once"):
            in_parallel([ask, ask], self.seconds)
        expect(found[0] == found[1], "`get` returned two different credentials to two workers")

    def test_what_it_stores_it_finds_and_erases(self) -> None:
        """`store`, `get` and `erase` belong to one server and one user."""
        if "store" not in self.verbs:
            pytest.skip("it does not store")
        source: Any = self.make()
        request = self.asked(server="https://xnat.invalid", username="alice")
        with self.calling("store"):
            source.store(request, SessionToken(username="alice", secret="0123456789ABCDEF"))  # noqa: S106
        found = self.get(request, source)
        expect(isinstance(found, SessionToken), "`get` does not find what `store` stored")
        assert isinstance(found, SessionToken)
        expect(found.secret == "0123456789ABCDEF", "`get` finds another token than `store` stored")  # noqa: S105
        others: dict[str, dict[str, Any]] = {
            "another server": {"server": "https://other.invalid"},
            "another user": {"username": "bob"},
        }
        for what, change in others.items():
            with self.calling("get"):
                other = source.get(replace(request, **change))
            expect(other is None, f"`get` returned the stored token for {what}")
        with self.calling("erase"):
            first, second = source.erase(request), source.erase(request)
        expect(first is True, "`erase` returned something else than True, and there was a token to erase")
        expect(self.get(request, source) is None, "`get` finds a token that was erased")
        expect(second is False, "`erase` returned something else than False, and nothing was left to erase")

    def test_it_renews(self) -> None:
        """`renew`: another credential of the same user, or None."""
        if "renew" not in self.verbs or self.expected is None:
            pytest.skip("it does not renew")
        source, request = self.make(), self.asked()
        rejected = self.get(request, source)
        assert rejected is not None
        with self.calling("renew"):
            renewed: Any = source.renew(request, rejected)  # type: ignore[attr-defined]  # its verbs say so
        self.checked("renew", renewed, request)
        again = "`renew` returned the credential that the server rejected; it would be sent again"
        expect(renewed is None or renewed != rejected, again)
