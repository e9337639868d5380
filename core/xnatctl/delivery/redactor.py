"""Texts of a server may repeat what stands in a file; what identifies a patient is taken out before anybody sees it.

Messages, reports, logs and the journal hold paths, UIDs and labels, and no patient. So a server's words are held
against the files that were sent to it, which are read for that only when it says something.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from functools import cached_property

from xnatctl.errors import SourceChanged
from xnatctl.inventory.identity import FIRST, identifying
from xnatctl.inventory.sources import open_item
from xnatctl.model.plan import UploadItem, UploadPlan

MASK = "[patient]"
#: Files that are looked into for what is said of no file in particular: the first of each series.
_LOOKED_AT = 64
#: Of a value that was cut off somewhere so much tells it.
_TELLING = 12
#: Texts of this length may have been cut off: Error Comment (PS3.7 C) is the shortest that is.
_CUT_OFF = 60
#: By these words of XNAT a failure is classified (xnat-import 3.2); no name makes them another.
_OURS = frozenset(
    (
        "concurrent", "data", "dicom", "file", "from", "not", "object", "read", "same", "sends", "supported", "the",
        "unable",
    )
)  # fmt: skip


class PatientRedactor:
    """Takes out of texts what identifies the patients of a plan. May be called from every worker.

    What the user named as project, subject or session stays, because it is the user's own word.
    """

    def __init__(self, plan: UploadPlan) -> None:
        where = plan.destination
        self._plan = plan
        self._spoken = {word.casefold() for word in (where.project, where.subject, where.session) if word}
        self._lock = threading.Lock()
        self._last: tuple[str, Callable[[str], str]] | None = None

    def __call__(self, text: str) -> str:
        """A text that may be about any file."""
        return self._of_all(text) if text else text

    def of(self, item: UploadItem, text: str) -> str:
        """A text about one file."""
        if not text:
            return text
        with self._lock:
            if self._last is None or self._last[0] != item.path:
                self._last = (item.path, self._masking([item]))
            mask = self._last[1]
        return mask(text)

    @cached_property
    def _of_all(self) -> Callable[[str], str]:
        items = [item for stage in self._plan.stages for item in stage.items]
        firsts = {item.series_instance_uid or item.path: item for item in reversed(items)}
        return self._masking(list(firsts.values())[-_LOOKED_AT:])

    def _masking(self, items: Iterable[UploadItem]) -> Callable[[str], str]:
        words: set[str] = set()
        for item in items:
            try:
                with open_item(item) as reader:
                    words |= identifying(_beginning(reader.read))
            except SourceChanged:
                continue  # it is gone, and so is what would have told
        return _mask(words, self._spoken)


def _beginning(read: Callable[[int], bytes]) -> bytes:
    head = b""
    while len(head) < FIRST and (piece := read(FIRST - len(head))):
        head += piece
    return head


def _mask(words: Iterable[str], spoken: set[str]) -> Callable[[str], str]:
    """A function that replaces the words, long ones first, and those also where they are cut off."""
    kept = sorted({word for word in words if word.casefold() not in spoken | _OURS}, key=len, reverse=True)
    rules = [(word, re.compile(_beginning_of(word), re.IGNORECASE)) for word in kept]

    def mask(text: str) -> str:
        full = len(text) >= _CUT_OFF
        for word, pattern in rules:
            text = _without(text, word, pattern)
        return _without_stump(text, kept) if full else text

    return mask


def _beginning_of(word: str) -> str:
    """A pattern for a whole short word, or for as much of a long one as tells it."""
    short = len(word) <= _TELLING
    return rf"(?<!\w){re.escape(word[:_TELLING])}" + (r"(?!\w)" if short else "")


def _without(text: str, word: str, pattern: re.Pattern[str]) -> str:
    kept, position = [], 0
    for match in pattern.finditer(text):
        if match.start() < position:
            continue
        end, known = match.end(), _TELLING
        while end < len(text) and known < len(word) and text[end].lower() == word[known].lower():
            end, known = end + 1, known + 1
        kept += [text[position : match.start()], MASK]
        position = end
    return "".join([*kept, text[position:]])


def _without_stump(text: str, words: Iterable[str]) -> str:
    """Without the beginning of a word at the very end."""
    low = text.lower()
    for word in words:
        for length in range(min(len(word) - 1, _TELLING), 2, -1):
            start = len(text) - length
            if low.endswith(word[:length].lower()) and not (start and text[start - 1].isalnum()):
                return text[:start] + MASK
    return text
