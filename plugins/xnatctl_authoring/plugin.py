"""Commands: plugins new and plugins check, for authors of plugins."""

from __future__ import annotations

from xnatctl.api import CommandSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """The commands for authors; the others of the group `plugins` belong to core."""
    return [
        CommandSpec(
            path="plugins check",
            summary="Run the contracts of the test kit on one plugin.",
            target="xnatctl_authoring.cli:check",
            page="how-to/write-a-plugin.md",
            modules=("pytest", "werkzeug", "pydicom", "pynetdicom"),
            extra="testing",
            examples=(
                "# A plugin in the making, by its folder.",
                "xnatctl plugins check ./xnatctl-vault",
                "# An installed plugin, by its name.",
                "xnatctl plugins check gradual",
            ),
        ),
        CommandSpec(
            path="plugins new",
            summary="Write the distribution of a new plugin, with its tests.",
            target="xnatctl_authoring.cli:new",
            page="how-to/write-a-plugin.md",
            examples=(
                "# A transport named vault, in ./xnatctl-vault.",
                "xnatctl plugins new transport vault",
                "# A command, in another folder.",
                "xnatctl plugins new command stats --dir ..",
            ),
        ),
    ]
