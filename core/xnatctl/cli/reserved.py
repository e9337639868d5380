"""Names that belong to core, so that no third-party plugin can take them."""

from __future__ import annotations

from xnatctl.cli.builtin import BUILTIN
from xnatctl.delivery.builtin import STAGES

#: The checks of `doctor` that core makes itself.
CHECKS = ("configuration", "plugins", "server", "login")
#: Flags and parameters of all commands that upload, so that an option of a transport means the same everywhere.
FLAGS = (
    "--allow-multiple-studies", "--archive", "--attach-nested", "--attach-only", "--attach-unknown", "--content",
    "--direct-archive", "--dry-run", "--echo", "--exact", "--exam-root", "--file-format", "--follow-symlinks",
    "--format", "--help", "--hidden", "--image-resource", "--insecure", "--labels", "--large-archive", "--lock-wait",
    "--log-file", "--misc-label", "--mode", "--names", "--no-color", "--no-resume", "--no-verify", "--output",
    "--overwrite", "--password", "--password-stdin", "--path", "--paths", "--prearchive", "--profile", "--project",
    "--project-level", "--quiet", "--resource-label", "--resume", "--retry-for", "--same-patient", "--scan",
    "--session", "--skip-resources", "--split-studies", "--subject", "--tags", "--timeout", "--trust-session", "--url",
    "--username", "--verbose", "--verify", "--verify-level", "--wait", "--workers",
)  # fmt: skip

RESERVED = {
    "command": tuple(spec.path for spec in BUILTIN),
    "check": CHECKS,
    "stage": tuple(STAGES),
    "option": FLAGS,
}
