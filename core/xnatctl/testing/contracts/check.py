"""The contract of the checks of `xnatctl doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xnatctl.plugin.specs import CheckResult
from xnatctl.testing.contracts.base import Contract
from xnatctl.testing.watch import expect


class CheckContract(Contract):
    """For checks of `doctor`. Set `spec`, the CheckSpec."""

    def run(self) -> CheckResult:
        """Run the check as `doctor` does, without a configuration."""
        from xnatctl.cli.app import App

        app = App(["doctor"])
        try:
            with self.calling("target"):
                result: Any = self.target(app)
        finally:
            app.close()
        expect(isinstance(result, CheckResult), f"the check returned {type(result).__name__} instead of CheckResult")
        found: CheckResult = result
        return found

    @pytest.fixture(autouse=True)
    def _without_configuration(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No settings of whoever runs the tests."""
        (tmp_path / "config.yaml").touch()
        monkeypatch.setenv("XNATCTL_CONFIG", str(tmp_path / "config.yaml"))
        monkeypatch.setenv("XNATCTL_STATE_DIR", str(tmp_path / "state"))

    def test_it_returns_a_result(self) -> None:
        """A result with a known status and one sentence; an XnatctlError is a failed check."""
        from xnatctl.errors import XnatctlError

        try:
            result = self.run()
        except XnatctlError:
            return
        expect(
            result.status in ("ok", "warning", "failed", "skipped"),
            f"the check returned the status {result.status!r}; it is ok, warning or failed",
        )
        message = isinstance(result.message, str) and bool(result.message.strip())
        expect(message, "the check returned no message; say in one sentence what was found")
        expect("\n" not in result.message, "the message of the check has several lines; one sentence is shown")
        hint = result.hint is None or isinstance(result.hint, str)
        expect(hint, "the hint of the check is no text")
        self.expect_no_secret("the result of the check", result.message, result.hint)
