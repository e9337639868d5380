"""Masks patient data in texts of a server, which may repeat the contents of a file.

Messages, reports, logs and the journal hold paths, UIDs and labels, but no patient data. So the text of a server is
compared with the headers of the sent files, which are read only if there is such a text.
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
#: Most files that are read for a text about no particular file: the first of each series.
_LOOKED_AT = 64
#: Characters by which a truncated value is recognised.
_TELLING = 12
#: Texts of this length may be truncated: Error Comment (PS3.7 C) is the shortest field.
_CUT_OFF = 60
#: XNAT's texts that classify a failure (xnat-import 3.2); masking must not change them.
_OURS = frozenset(
    (
        "concurrent", "data", "dicom", "file", "from", "not", "object", "read", "same", "sends", "supported", "the",
        "unable",
    )
)  # fmt: skip


class PatientRedactor:
    """Masks in texts what identifies the patients of a plan. Thread-safe.

    The project, subject and session of the request are not masked.
    """

    def __init__(self, plan: UploadPlan) -> None:
        where = plan.destination
        self._plan = plan
        self._spoken = {word.casefold() for word in (where.project, where.subject, where.session) if word}
        self._lock = threading.Lock()
        self._last: tuple[str, Callable[[str], str]] | None = None

    def __call__(self, text: str) -> str:
        """Mask a text about any file."""
        return self._of_all(text) if text else text

    def of(self, item: UploadItem, text: str) -> str:
        """Mask a text about one file."""
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
                continue  # the file is gone, and so are its values
        return _mask(words, self._spoken)


def _beginning(read: Callable[[int], bytes]) -> bytes:
    head = b""
    while len(head) < FIRST and (piece := read(FIRST - len(head))):
        head += piece
    return head


def _mask(words: Iterable[str], spoken: set[str]) -> Callable[[str], str]:
    """A function that masks the words, long ones first, also where long words are truncated."""
    kept = sorted({word for word in words if word.casefold() not in spoken | _OURS}, key=len, reverse=True)
    rules = [(word, re.compile(_beginning_of(word), re.IGNORECASE)) for word in kept]

    def mask(text: str) -> str:
        full = len(text) >= _CUT_OFF
        for word, pattern in rules:
            text = _without(text, word, pattern)
        return _without_stump(text, kept) if full else text

    return mask


def _beginning_of(word: str) -> str:
    """A pattern for a short word, or for the recognisable beginning of a long one."""
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
    """The text without a truncated word at its end."""
    low = text.lower()
    for word in words:
        for length in range(min(len(word) - 1, _TELLING), 2, -1):
            start = len(text) - length
            if low.endswith(word[:length].lower()) and not (start and text[start - 1].isalnum()):
                return text[:start] + MASK
    return text
