"""The credential chain: flags first, then each source in order, once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xnatctl.errors import AuthenticationError, ConfigError, PluginUnavailable
from xnatctl.model.commands import Commands
from xnatctl.plugin.credentials import (
    AliasToken,
    ClientCertificate,
    Credential,
    CredentialRequest,
    Headers,
    Password,
    SessionToken,
    described,
    problem_of,
    secrets_of,
    user_of,
)
from xnatctl.redaction import Redactor
from xnatctl.settings.options import section_of, source_options
from xnatctl.settings.profiles import Settings

if TYPE_CHECKING:
    from xnatctl.plugin.catalog import Provided
    from xnatctl.plugin.guarded import GuardedSource
    from xnatctl.plugin.registry import Registry
    from xnatctl.plugin.specs import CredentialSourceSpec


def request_for(settings: Settings) -> CredentialRequest:
    """The credential request of this run; the user comes from flag, variable or profile, in this order.

    A profile that is for another server is not named.
    """
    return CredentialRequest(
        server=settings.server(),
        username=settings.username.value,
        profile_name=settings.profile_name.value if settings.profile_counts else None,
        profile=settings.profile,
        environment=settings.environment_counts,
    )


def plain_name(username: str) -> str:
    """The login name for comparisons: lower case, without the provider of `provider/login` (xnat-api 1.2)."""
    return username.rpartition("/")[2].lower()


def request_to(settings: Settings, spec: CredentialSourceSpec) -> CredentialRequest | None:
    """The request for one source, with its options; None where the source is not configured. Raises ConfigError."""
    options = source_options(spec, settings.profile, _profile(settings), environment=settings.environment_counts)
    return None if options is None else replace(request_for(settings), options=options)


def _profile(settings: Settings) -> str:
    return f"profile {settings.profile_name.value or 'NAME'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Given:
    """A credential as its source returned it, the source, and the request."""

    credential: Credential
    provided: Provided[CredentialSourceSpec]
    source: GuardedSource
    request: CredentialRequest
    print: object


class CredentialChain:
    """Callable: each call gives the next usable credential; `given` is the last one.

    If a user is named, sources with another user are skipped. After a session token, its user counts as named, so that
    a run never continues as another user. `fresh` skips stored session tokens. Without `prompts`, sources that ask at
    the terminal are skipped also where there is one (`interactive`).

    Raises AuthenticationError if no source is left, naming the sources and how to log in; PluginUnavailable if a source
    fails.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        *,
        interactive: bool,
        prompts: bool = True,
        redactor: Redactor,
        commands: Commands,
        fresh: bool = False,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._interactive = interactive
        self._prompts = prompts
        self._redactor = redactor
        self._commands = commands
        self._fresh = fresh
        self._username = settings.username.value
        self._asked: list[str] = []
        self._passed_over: list[str] = []
        self._ended: SessionToken | None = None
        self._found = self._credentials()
        self._last: _Given | None = None
        self._before_asking: Callable[[], None] | None = None
        self.given: Credential | None = None

    def __call__(self, before_asking: Callable[[], None] | None = None) -> Credential:
        """The next credential. Not to be called from two threads at once.

        `before_asking` is called before a source asks at the terminal; what it raises ends the search.
        """
        self._before_asking = before_asking
        if isinstance(self.given, SessionToken) and self.given.final:  # a second call: the server rejected it
            raise AuthenticationError(
                f"{self._settings.server()} does not accept the session token of {self.given.source}: the session has "
                f"ended, or is not one of {self.given.username or 'this server'}.",
                hint="A session token is the JSESSIONID of a login and expires when idle; an alias token has the "
                "form alias:secret.",
            )
        credential = next(self._found, None)
        if credential is None:
            raise self._nothing()
        if isinstance(credential, SessionToken) and credential.username:
            self._ended = credential  # a second call means that the server rejected it
            self._username = credential.username
        return self._give(credential)

    def renew(self, rejected: Credential, *, refused: bool) -> Credential | None:
        """Ask the source of `rejected`, the last credential, for another one; None where that source cannot renew.

        `refused`: the server does not accept it; else it has expired, and its source may have extended it. Raises
        AuthenticationError when the source has no other one, PluginUnavailable if it fails.
        """
        last = self._last
        if last is None or not last.source.renews:
            return None
        server = self._settings.server()
        what = f"{server} does not accept {described(rejected)}" if refused else f"For {server}, {described(rejected)}"
        what += ", and" if refused else " has expired, and"
        renewed = self._checked(last.provided, last.source.renew(last.request, last.credential))
        if renewed is None:
            raise AuthenticationError(f"{what} the credential source {last.provided.name} has no other one.")
        if _print(renewed) == last.print and (refused or _is_over(renewed)):
            raise AuthenticationError(f"{what} the credential source {last.provided.name} returned the same one again.")
        if _is_over(renewed):
            raise AuthenticationError(
                f"{what} what the credential source {last.provided.name} returned instead has expired, too.",
                hint="Check the clock of this machine and that of the source.",
            )
        if not self._is_wanted(renewed):
            raise AuthenticationError(
                f"{what} the credential source {last.provided.name} returned one of another user, {user_of(renewed)}."
            )
        self._last = replace(last, credential=renewed, print=_print(renewed))
        return self._give(renewed)

    def _give(self, credential: Credential) -> Credential:
        for user, secret in secrets_of(credential):
            self._redactor.register_secret(secret, user)
        self._redactor.reveal([user_of(credential)])  # not masked even if it equals the password
        named = self._username
        if isinstance(credential, SessionToken | Headers | ClientCertificate) and not credential.username and named:
            credential = replace(credential, username=named)  # so that the login is compared with it
        if not credential.source and self._last is not None:
            credential = replace(credential, source=self._last.provided.name)
        self.given = credential
        return credential

    @property
    def source(self) -> str:
        """The origin of the last credential; empty before the first."""
        return "" if self.given is None else self.given.source

    def _credentials(self) -> Iterator[Credential]:
        flags = self._settings.flags
        if flags.password is not None:
            if self._username is None:
                raise ConfigError("A password was given without a user name.", hint="Add --username USER.")
            yield Password(username=self._username, secret=flags.password, source="the command line")
            return
        if not self._settings.environment_counts:
            self._passed_over.append("the variables are for another server")
        for provided in self._sources():
            request = request_to(self._settings, provided.spec)
            if request is None:
                self._passed_over.append(f"{provided.name} is not configured")
                continue
            self._asked.append(provided.name)
            request = replace(request, username=self._username)
            source = self._registry.credential_source(provided)
            if provided.spec.interactive and self._before_asking is not None:
                self._before_asking()
            credential = self._checked(provided, source.get(request))
            if credential is None:
                continue
            if self._fresh and not isinstance(credential, Password | AliasToken):
                self._pass_over_for_login(provided.name, credential)
            elif self._is_wanted(credential):
                self._last = _Given(
                    credential=credential, provided=provided, source=source, request=request, print=_print(credential)
                )
                yield credential
            else:
                self._passed_over.append(f"{provided.name} knows {user_of(credential)}")

    def _pass_over_for_login(self, source: str, credential: Credential) -> None:
        if not isinstance(credential, SessionToken):
            self._passed_over.append(f"what {source} gives goes with every request, so there is nothing to store")
        elif credential.final:
            self._passed_over.append(f"{credential.source} holds a session token, which is logged in already")

    def _checked(self, provided: Provided[CredentialSourceSpec], found: object) -> Credential | None:
        """What a source returned, if it can be used. Raises PluginUnavailable, without any text of the source."""
        if found is None:
            return None
        problem = problem_of(found)
        if problem is not None or not isinstance(found, Credential):
            plugin = provided.plugin
            raise PluginUnavailable(
                f"The credential source {provided.name} (plugin {plugin.name}, {plugin.origin}) returned something "
                f"that cannot be used as a credential: {problem}.",
                hint=f"Block the plugin ({plugin.name}), or remove the source from credential_sources.",
            )
        return found

    def _is_wanted(self, credential: Credential) -> bool:
        """Whether a credential is for the named user, if any.

        An alias token names no user (xnat-api 1.5), so it goes with a name from a variable or profile, but not
        with one that was typed for this run, or whose session is to be continued.
        """
        if isinstance(credential, AliasToken):
            typed = self._settings.flags.username
            return self._ended is None and typed in (None, credential.alias)
        named, user = self._username, user_of(credential)
        return named is None or not user or plain_name(user) == plain_name(named)

    def _sources(self) -> Iterator[Provided[CredentialSourceSpec]]:
        known = {provided.name: provided for provided in self._registry.credential_sources()}
        for provided in known.values():
            section_of(provided.spec, self._settings.profile, _profile(self._settings))
        order = self._settings.credential_sources.value
        if order is not None:
            for name in order:
                if name not in known:
                    raise ConfigError(
                        f"credential_sources names {name!r}, which no active plugin provides.",
                        hint=f"There are: {', '.join(known)}.",
                    )
        for name in dict.fromkeys(order) if order is not None else known:
            provided = known[name]
            if provided.missing:
                self._passed_over.append(f"{name} needs {', '.join(provided.missing)}, which is not installed")
            elif provided.spec.interactive and not self._prompts:
                self._passed_over.append("this command does not prompt for a password")
            elif provided.spec.interactive and not self._interactive:
                self._passed_over.append(f"{name} needs a terminal")
            else:
                yield provided

    def _nothing(self) -> AuthenticationError:
        server, user = self._settings.server(), self._username
        what = f"No credentials for {server}" + (f" as {user}" if user else "")
        if self._settings.profile_counts and (profile := self._settings.profile_name.value) is not None:
            what += f" in profile {profile}"
        if self._ended is not None:
            return AuthenticationError(
                f"{what}: the stored session has ended.",
                hint=f"Log in again: {self._commands.command('auth', 'login')} or erase the session: "
                f"{self._commands.command('auth', 'logout')}",
            )
        details = [f"asked: {', '.join(self._asked) or 'nothing'}", *self._passed_over]
        if not self._settings.environment_counts:
            login = self._commands.command("auth", "login")
            hint = f"Log in there with {login}, or set XNAT_URL, XNAT_USER and XNAT_PASS for this server."
            return AuthenticationError(f"{what} ({'; '.join(details)}).", hint=hint)
        start = "Set" if self._fresh else f"Log in with {self._commands.command('auth', 'login')}, or set"
        return AuthenticationError(
            f"{what} ({'; '.join(details)}).",
            hint=f"{start} XNAT_USER and XNAT_PASS, or use --username with --password-stdin.",
        )


def _is_over(credential: Credential) -> bool:
    return credential.expires is not None and credential.expires <= time.time()


def _print(credential: Credential) -> object:
    """Equal for credentials with one secret, whatever their source and end. A certificate may change in its file."""
    if isinstance(credential, ClientCertificate):
        paths = (credential.certificate, credential.key)
        return (*map(_digest, paths), credential.passphrase)
    plain: Credential = replace(credential, source="", expires=None)
    return plain


def _digest(path: str | None) -> object:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest() if path and Path(path).is_file() else path
    except OSError:
        return path
