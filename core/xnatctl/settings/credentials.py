"""The credential chain: flags first, then the sources in their order, each asked once (DESIGN 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xnatctl.errors import AuthenticationError, ConfigError
from xnatctl.plugin.protocols import Credential, CredentialRequest, CredentialSource
from xnatctl.settings.profiles import Settings

if TYPE_CHECKING:
    from xnatctl.plugin.registry import Provided, Registry
    from xnatctl.plugin.specs import CredentialSourceSpec


def request_for(settings: Settings) -> CredentialRequest:
    """Which credential this run needs. Only a flag or a profile names the user for certain."""
    return CredentialRequest(
        server=settings.server(),
        username=settings.username.value,
        profile_name=settings.profile_name.value,
        profile=settings.profile,
    )


class CredentialChain:
    """Callable: each call gives the next usable credential. `source` names the last one's origin.

    `fresh` leaves out kept session tokens.

    Raises AuthenticationError when nothing is left, with what was asked and how to give one.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        *,
        interactive: bool,
        register_secret: Callable[[str], None],
        fresh: bool = False,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._interactive = interactive
        self._register = register_secret
        self._fresh = fresh
        self.source = ""
        self._asked: list[str] = []
        self._found = self._credentials()
        self._gave = False

    def __call__(self) -> Credential:
        for credential in self._found:
            self._register(credential.secret)
            self._gave = True
            self.source = credential.source
            return credential
        raise AuthenticationError(
            f"No credentials for {self._settings.server()}"
            + (f" as {self._settings.username.value}" if self._settings.username.value else "")
            + (": the cached login has ended." if self._gave else f" (asked: {', '.join(self._asked) or 'nothing'})."),
            hint="Run xnatctl auth login, or set XNAT_USER and XNAT_PASS, or use --username with --password-stdin.",
        )

    def _credentials(self) -> Iterator[Credential]:
        flags = self._settings.flags
        request = request_for(self._settings)
        if flags.password is not None:
            if request.username is None:
                raise ConfigError("A password was given without a user name.", hint="Add --username USER.")
            yield Credential(
                kind="password", username=request.username, secret=flags.password, source="the command line"
            )
            return
        for provided in self._sources():
            self._asked.append(provided.name)
            source: CredentialSource = self._registry.load(provided)()
            credential = source.get(request)
            if (
                credential is not None
                and self._is_wanted(credential)
                and not (self._fresh and credential.kind == "session")
            ):
                yield credential

    def _is_wanted(self, credential: Credential) -> bool:
        """A named user is logged in as that user, never as the one that a source happens to know."""
        named = self._settings.flags.username
        if named is None or credential.kind == "token":
            return named is None or credential.username == named
        return credential.username.lower() == named.lower()

    def _sources(self) -> Iterator[Provided[CredentialSourceSpec]]:
        known = {provided.name: provided for provided in self._registry.credential_sources()}
        order = self._settings.credential_sources.value
        if order is not None:
            for name in order:
                if name not in known:
                    raise ConfigError(
                        f"credential_sources names {name!r}, which no plugin provides.",
                        hint=f"There are: {', '.join(known)}.",
                    )
        for name in order if order is not None else known:
            provided = known[name]
            if provided.missing or (provided.spec.interactive and not self._interactive):
                continue
            yield provided
