"""What all contracts have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from xnatctl.plugin.guard import attribute_of
from xnatctl.plugin.specs import Option, Spec
from xnatctl.testing.isolated import import_mistake
from xnatctl.testing.watch import Mistake, expect, watched


class Contract:
    """Base of the contracts: `spec` is what the plugin registers.

    `seconds` is the time limit of one call. `secrets` are texts that the plugin knows and must show nowhere.
    """

    spec: ClassVar[Any] = None
    seconds: ClassVar[float] = 30.0
    secrets: ClassVar[Sequence[str]] = ()
    #: False where no author gives examples: what needs one is skipped then, and fails otherwise.
    examples: ClassVar[bool] = True

    def require(self, condition: object, mistake: str) -> None:
        """Fail for an example that the author must give; skip where there is no author."""
        if not condition and not self.examples:
            pytest.skip(mistake)
        expect(condition, mistake)

    @property
    def target(self) -> Any:
        """What the spec names, imported."""
        if self.spec is None:
            raise Mistake(f"{type(self).__name__} sets neither `spec` nor `make`")
        return attribute_of(self.spec.target)

    def calling(self, what: str, *, network: bool = True, allowed: Any = None) -> AbstractContextManager[None]:
        """Watch calls of the plugin; see `watched`."""
        more = {} if allowed is None else {"allowed": allowed}
        return watched(f"`{what}`", seconds=self.seconds, network=network, **more)

    def expect_no_secret(self, what: str, *texts: object) -> None:
        """Raise Mistake if a text holds one of `secrets`, without printing it."""
        for text in texts:
            expect(
                not any(secret in str(text) for secret in self.secrets if secret),
                f"{what} contains a secret; a dry run, the report and the log show it",
            )

    def modules(self) -> list[str]:
        """The modules that its targets are in."""
        named = [getattr(self.spec, name, None) for name in ("target", "destination", "locate")]
        return sorted({target.partition(":")[0] for target in named if target})

    def test_it_can_be_imported(self) -> None:
        """Importing prints nothing, ends, and leaves the process as it was."""
        if self.spec is None:
            pytest.skip("set `spec` to test the import of its modules")
        mistake = import_mistake(self.modules())
        expect(not mistake, mistake)


def with_defaults(options: Sequence[Option], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A value for every option: those given, else a text that no report may show for a secret, else the default."""
    unknown = set(given) - {option.name for option in options}
    if options and unknown:
        raise Mistake(f"`options` names {', '.join(sorted(unknown))}, which the spec does not declare")
    values = {option.name: secret_value(option) or option.default for option in options}
    return MappingProxyType({**values, **given})


def secret_value(option: Option) -> str:
    """The value of a secret option; empty for others."""
    return f"canary-of-{option.name}-5d1c" if getattr(option, "secret", False) else ""


def required_without_value(spec: Spec, values: Mapping[str, Any]) -> list[str]:
    """The options that the author must give a value for."""
    return [o.name for o in getattr(spec, "options", ()) if o.required and values.get(o.name) is None]


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say which of several cases a Mistake belongs to."""
    try:
        yield
    except Mistake as error:
        raise Mistake(f"{what}: {error}") from None
