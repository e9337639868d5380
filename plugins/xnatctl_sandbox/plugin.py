"""Commands: sandbox start | demo, an XNAT-compatible server on this machine."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1

_NEEDS = ("werkzeug", "pydicom")


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """Both run until they are done or stopped; nothing leaves this machine."""
    return [
        CommandSpec(
            path="sandbox start",
            summary="Run an XNAT-compatible server on this machine.",
            target="xnatctl_sandbox.cli:start",
            page="how-to/use-the-sandbox.md",
            modules=_NEEDS,
            extra="sandbox",
            examples=(
                "# A server to try things out; its data go with it.",
                "xnatctl sandbox start",
                "# Keep the data; any free port.",
                "xnatctl sandbox start --dir playground --port 0",
            ),
        ),
        CommandSpec(
            path="sandbox demo",
            summary="Upload a synthetic exam to a sandbox, and verify it.",
            target="xnatctl_sandbox.cli:demo",
            page="how-to/use-the-sandbox.md",
            modules=_NEEDS,
            extra="sandbox",
            examples=(
                "xnatctl sandbox demo",
                "# Keep the exam and the data of the server.",
                "xnatctl sandbox demo --dir demo",
            ),
        ),
    ]
