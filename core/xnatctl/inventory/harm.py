"""What a member of an archive file would do to whoever unpacks it by its name.

Nothing is unpacked by name here. But no scanner exports such things, so an archive file that holds one is not what its
sender believes, and none of it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xnatctl.errors import Refused
from xnatctl.model.words import counted

#: Members that are named before "and n more".
_NAMED = 5
_DRIVE = re.compile("[A-Za-z]:/")


def name_harm(name: str) -> str | None:
    """For a name that would be written somewhere else, here or on Windows."""
    plain = name.replace("\\", "/")
    leads_out = plain.startswith("/") or _DRIVE.match(plain) or ".." in plain.split("/")
    return "its name leads out of the archive" if leads_out else None


def refuse_hostile(path: str, members: Sequence[str]) -> None:
    """Raise Refused when there are any; each is a name and what it would do."""
    if not members:
        return
    more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
    raise Refused(
        f"{path} holds {counted(len(members), 'member')} that would be written outside of it, or do harm, when "
        f"unpacked: {', '.join(members[:_NAMED])}{more}.",
        hint="Do not unpack it before you know where it comes from. If it is yours, make it again from inside the "
        "directory (tar -cf exam.tar -C DIRECTORY .), or name the directory.",
    )
