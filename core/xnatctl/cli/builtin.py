"""Core's own commands, declared in the way of a plugin, and the help texts of the command groups."""

from __future__ import annotations

from xnatctl.plugin.specs import CommandSpec

GROUPS = {
    "auth": "Log in, log out, and show the current login.",
    "campaign": "Many sessions from a manifest, on one machine or several.",
    "config": "The configuration file and its profiles.",
    "plugins": "List, inspect, write, check, block and unblock plugins.",
    "prearchive": "Sessions in the prearchive, which wait for review.",
    "resource": "Resources: files that are not DICOM.",
    "sandbox": "An XNAT-compatible server on this machine, for trying things out.",
    "scan": "The scans of a session.",
    "session": "Upload, verify and list imaging sessions.",
    "upload": "List, resume and forget uploads made from this machine.",
}


def _core(path: str, summary: str, target: str) -> CommandSpec:
    return CommandSpec(path=path, summary=summary, target=f"xnatctl.cli.{target}")


BUILTIN = (
    _core("upload forget", "Delete the local record of an upload; contacts no server.", "upload:forget"),
    _core("upload resume", "Finish an upload that was interrupted.", "upload:resume"),
    _core("upload status", "List uploads and files that were not delivered.", "upload:status"),
    _core("auth login", "Log in and store the session token.", "auth:login"),
    _core("auth logout", "End the stored session and erase its token.", "auth:logout"),
    _core("auth status", "Show the current user and the source of the login.", "auth:status"),
    _core("completion", "Print the completion script of a shell.", "completion:completion"),
    _core("config init", "Write a configuration file to start from.", "config:init"),
    _core("config list-profiles", "List the profiles and the default.", "profiles:list_profiles"),
    _core("config path", "Print where the configuration file is.", "config:path"),
    _core("config remove-profile", "Delete a profile.", "profiles:remove_profile"),
    _core("config set-profile", "Create or change a profile.", "profiles:set_profile"),
    _core("config show", "Show every setting and where it comes from.", "config:show"),
    _core("config use", "Choose the default profile.", "profiles:use"),
    _core("doctor", "Check configuration, plugins, server and login.", "doctor:doctor"),
    _core("plugins block", "Stop using a plugin.", "plugins:block"),
    _core("plugins list", "List plugins and their state; does not import third-party plugins.", "plugins:list_plugins"),
    _core("plugins show", "Show what one plugin provides.", "plugins:show"),
    _core("plugins unblock", "Use a blocked plugin again.", "plugins:unblock"),
)
