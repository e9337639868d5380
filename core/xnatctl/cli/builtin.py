"""Core's own commands, declared in the way of a plugin, and the help texts of the command groups."""

from __future__ import annotations

from xnatctl.plugin.specs import CommandSpec

GROUPS = {
    "auth": "Log in, log out, and show the current login.",
    "campaign": "Many sessions from a manifest, on one machine or several.",
    "config": "The configuration file and its profiles.",
    "plugins": "List, inspect, write, check, block and unblock plugins.",
    "prearchive": "Sessions in the prearchive, which wait for review.",
    "receipt": "Receipts of uploads.",
    "resource": "Resources: files that are not DICOM.",
    "sandbox": "An XNAT-compatible server for trying things out.",
    "scan": "The scans of a session.",
    "session": "Upload, verify and list imaging sessions.",
    "upload": "List, resume and forget uploads made from this machine.",
}


def _core(path: str, summary: str, target: str, *examples: str) -> CommandSpec:
    return CommandSpec(path=path, summary=summary, target=f"xnatctl.cli.{target}", examples=examples)


BUILTIN = (
    _core(
        "upload forget",
        "Delete the local record of an upload; contacts no server.",
        "upload:forget",
        "# By the ID that upload status shows.",
        "xnatctl upload forget 4f0c2a1b",
        "# By project and session, without a question.",
        "xnatctl upload forget DEMO/s01_mr --yes",
    ),
    _core(
        "upload resume",
        "Finish an upload that was interrupted.",
        "upload:resume",
        "# Finish the upload of a session.",
        "xnatctl upload resume DEMO/s01_mr",
        "# By the ID that upload status shows; wait longer for a silent server.",
        "xnatctl upload resume 4f0c2a1b --retry-for 600",
    ),
    _core(
        "upload status",
        "List uploads and files that were not delivered.",
        "upload:status",
        "# What is not complete.",
        "xnatctl upload status --unfinished",
        "# The files of one upload that were not delivered, as CSV.",
        "xnatctl upload status DEMO/s01_mr -o csv",
    ),
    _core(
        "auth login",
        "Log in and store the session token.",
        "auth:login",
        "# Asks for the password, and keeps the session for other commands.",
        "xnatctl auth login --url https://xnat.example.org --username jdoe",
        "# In a script.",
        "xnatctl auth login --username jdoe --password-stdin < password.txt",
    ),
    _core(
        "auth logout",
        "End the stored session and erase its token.",
        "auth:logout",
        "xnatctl auth logout",
        "# The session of another profile.",
        "xnatctl auth logout --profile lab",
    ),
    _core(
        "auth status",
        "Show the current user and the source of the login.",
        "auth:status",
        "xnatctl auth status",
        "# The user alone, for a script.",
        "xnatctl auth status --profile lab -q",
    ),
    _core(
        "completion",
        "Print the completion script of a shell.",
        "completion:completion",
        "# Load it when the shell starts: bash, zsh, fish.",
        "echo 'eval \"$(xnatctl completion bash)\"' >> ~/.bashrc",
        "echo 'eval \"$(xnatctl completion zsh)\"' >> ~/.zshrc",
        "xnatctl completion fish > ~/.config/fish/completions/xnatctl.fish",
    ),
    _core(
        "config init",
        "Make a profile by answering questions, or write a file to start from.",
        "config:init",
        "# Asks for server, user and password, and tests them.",
        "xnatctl config init",
        "# Only a file with comments.",
        "xnatctl config init --template",
    ),
    _core(
        "config list-profiles",
        "List the profiles and the default.",
        "profiles:list_profiles",
        "xnatctl config list-profiles",
    ),
    _core(
        "config path",
        "Print where the configuration file is.",
        "config:path",
        "xnatctl config path",
        "# Edit the file.",
        'nano "$(xnatctl config path)"',
    ),
    _core(
        "config remove-profile",
        "Delete a profile.",
        "profiles:remove_profile",
        "xnatctl config remove-profile lab",
    ),
    _core(
        "config set-profile",
        "Create or change a profile.",
        "profiles:set_profile",
        "# A server, and the user there.",
        "xnatctl config set-profile lab --url https://xnat.example.org --username jdoe",
        "# Send by another transport from now on.",
        "xnatctl config set-profile lab --mode gradual",
    ),
    _core(
        "config show",
        "Show every setting and where it comes from.",
        "config:show",
        "xnatctl config show",
        "# What applies with another profile.",
        "xnatctl config show --profile lab",
    ),
    _core(
        "config use",
        "Choose the default profile.",
        "profiles:use",
        "xnatctl config use lab",
    ),
    _core(
        "doctor",
        "Check configuration, plugins, server and login.",
        "doctor:doctor",
        "xnatctl doctor",
        "# Another profile; for a script.",
        "xnatctl doctor --profile lab -o json",
    ),
    _core(
        "plugins block",
        "Stop using a plugin.",
        "plugins:block",
        "# A plugin that breaks or disturbs.",
        "xnatctl plugins block vault",
        "# One of two plugins of the same name, by its distribution.",
        "xnatctl plugins block xnatctl-vault:vault",
    ),
    _core(
        "plugins list",
        "List plugins and their state; does not import third-party plugins.",
        "plugins:list_plugins",
        "xnatctl plugins list",
        "# Import everything, to find what is broken.",
        "xnatctl plugins list --check",
    ),
    _core(
        "plugins show",
        "Show what one plugin provides.",
        "plugins:show",
        "xnatctl plugins show zip",
    ),
    _core(
        "plugins unblock",
        "Use a blocked plugin again.",
        "plugins:unblock",
        "xnatctl plugins unblock vault",
    ),
)
