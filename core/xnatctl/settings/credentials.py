"""The credential chain: flags first, then each source in order, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from xnatctl.errors import AuthenticationError, ConfigError, PluginUnavailable
from xnatctl.model.commands import Commands
from xnatctl.plugin.protocols import Credential, CredentialRequest
from xnatctl.redaction import Redactor
from xnatctl.settings.profiles import Settings

if TYPE_CHECKING:
    from xnatctl.plugin.registry import Provided, Registry
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


class CredentialChain:
    """Callable: each call gives the next usable credential; `given` is the last one.

    If a user is named, sources with another user are skipped. After a session token, its user counts as named, so that
    a run never continues as another user. `fresh` skips stored session tokens.

    Raises AuthenticationError if no source is left, naming the sources and how to log in; PluginUnavailable if a source
    fails.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        *,
        interactive: bool,
        redactor: Redactor,
        commands: Commands,
        fresh: bool = False,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._interactive = interactive
        self._redactor = redactor
        self._commands = commands
        self._fresh = fresh
        self._request = request_for(settings)
        self._asked: list[str] = []
        self._passed_over: list[str] = []
        self._ended: Credential | None = None
        self._found = self._credentials()
        self.given: Credential | None = None

    def __call__(self) -> Credential:
        """The next credential. Not to be called from two threads at once."""
        if self.given is not None and self.given.final:  # a second call means that the server rejected it
            raise AuthenticationError(
                f"{self._settings.server()} does not accept the session token of {self.given.source}: the session has "
                f"ended, or is not one of {self.given.username or 'this server'}.",
                hint="A session token is the JSESSIONID of a login and expires when idle; an alias token has the "
                "form alias:secret.",
            )
        credential = next(self._found, None)
        if credential is None:
            raise self._nothing()
        if credential.kind == "session" and credential.username:
            self._ended = credential  # a second call means that the server rejected it
            self._request = replace(self._request, username=credential.username)
        self._redactor.register_secret(credential.secret, credential.username)
        if credential.kind == "token":
            self._redactor.register_secret(credential.username)  # the alias is part of the token
        else:
            self._redactor.reveal([credential.username])  # not masked even if it equals the password
        self.given = credential
        return credential

    @property
    def source(self) -> str:
        """The origin of the last credential; empty before the first."""
        return "" if self.given is None else self.given.source

    def _credentials(self) -> Iterator[Credential]:
        flags = self._settings.flags
        if flags.password is not None:
            if self._request.username is None:
                raise ConfigError("A password was given without a user name.", hint="Add --username USER.")
            yield Credential(
                kind="password", username=self._request.username, secret=flags.password, source="the command line"
            )
            return
        if not self._request.environment:
            self._passed_over.append("the variables are for another server")
        for provided in self._sources():
            self._asked.append(provided.name)
            credential = self._ask(provided)
            if credential is None:
                continue
            if self._fresh and credential.kind == "session":
                if credential.final:
                    self._passed_over.append(f"{credential.source} holds a session token, which is logged in already")
            elif self._is_wanted(credential):
                yield credential
            else:
                self._passed_over.append(f"{provided.name} knows {credential.username}")

    def _ask(self, provided: Provided[CredentialSourceSpec]) -> Credential | None:
        """Ask one source. Only the type of its exceptions is printed, because their text may hold the secret."""
        credential = self._registry.credential_source(provided).get(self._request)
        if credential is None:
            return None
        known = isinstance(credential, Credential) and (credential.username or credential.kind == "session")
        if not (isinstance(credential, Credential) and credential.secret and known):
            plugin = provided.plugin
            raise PluginUnavailable(
                f"The credential source {provided.name} (plugin {plugin.name}, {plugin.origin}) returned something "
                "that is not a credential.",
                hint=f"Block the plugin ({plugin.name}), or remove the source from credential_sources.",
            )
        return credential

    def _is_wanted(self, credential: Credential) -> bool:
        """Whether a credential is for the named user, if any.

        An alias token names no user (xnat-api 1.5), so it goes with a name from a variable or profile, but not
        with one that was typed for this run, or whose session is to be continued.
        """
        if credential.kind == "token":
            typed = self._settings.flags.username
            return self._ended is None and typed in (None, credential.username)
        named = self._request.username
        return named is None or not credential.username or plain_name(credential.username) == plain_name(named)

    def _sources(self) -> Iterator[Provided[CredentialSourceSpec]]:
        known = {provided.name: provided for provided in self._registry.credential_sources()}
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
            elif provided.spec.interactive and not self._interactive:
                self._passed_over.append(f"{name} needs a terminal")
            else:
                yield provided

    def _nothing(self) -> AuthenticationError:
        server, user = self._settings.server(), self._request.username
        what = f"No credentials for {server}" + (f" as {user}" if user else "")
        if (profile := self._request.profile_name) is not None:
            what += f" in profile {profile}"
        if self._ended is not None:
            return AuthenticationError(
                f"{what}: the stored session has ended.",
                hint=f"Log in again: {self._commands.command('auth', 'login')} or erase the session: "
                f"{self._commands.command('auth', 'logout')}",
            )
        details = [f"asked: {', '.join(self._asked) or 'nothing'}", *self._passed_over]
        if not self._request.environment:
            login = self._commands.command("auth", "login")
            hint = f"Log in there with {login}, or set XNAT_URL, XNAT_USER and XNAT_PASS for this server."
            return AuthenticationError(f"{what} ({'; '.join(details)}).", hint=hint)
        start = "Set" if self._fresh else f"Log in with {self._commands.command('auth', 'login')}, or set"
        return AuthenticationError(
            f"{what} ({'; '.join(details)}).",
            hint=f"{start} XNAT_USER and XNAT_PASS, or use --username with --password-stdin.",
        )
