"""Faults by script: which request, which time, what happens to it."""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any

from werkzeug import Request, Response

from xnatctl_sandbox.faults import responses as fault_responses

#: Actions that let the request do its work first.
AFTER = frozenset({"store-then-cut", "store-then-status"})
#: What happens to the files of a PUT or of an import: the request is carried out, and answered as if all were well or
#: not (4.4, 4.7).
STORING = frozenset({"catalog-conflict", "lose-file", "truncate-file"})
_PAGE = frozenset({"status", "page", "text", "headers", "read"})
#: Everything that can be done to an HTTP request.
ACTIONS: Mapping[str, frozenset[str]] = {
    "delay": frozenset({"seconds"}),
    "cut-before-body": frozenset(),
    "cut-at-byte": frozenset({"bytes", "reset"}),
    "rst": frozenset(),
    "hold": frozenset({"seconds"}),
    "redirect": frozenset({"status", "location"}),
    "expire-session": frozenset({"login"}),
    "status": _PAGE,
    "store-then-status": _PAGE,
    "store-then-cut": frozenset(),
    "catalog-conflict": frozenset(),
    "lose-file": frozenset({"members"}),
    "truncate-file": frozenset({"members", "bytes"}),
    "echo": frozenset({"status", "where"}),
    "flood": frozenset({"status", "type", "head", "unit", "count", "tail"}),
}
_WHERE = ("body", "headers", "both")
_NUMBERS = frozenset({"bytes", "count", "probability", "seconds", "status", "times"})
_PATTERNS = frozenset({"members", "sop_classes", "transfer_syntaxes"})
_CONDITIONS = frozenset({"match", "nth", "per", "probability", "seed", "times", "action"})


class Cut(Exception):
    """The connection ends here; `reset` by RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


#: What a rule can match of an HTTP request.
NAMES = frozenset({"method", "path", "query"})


class Faults:
    """A script of faults; every rule counts its own matches.

    `fields` maps each known action to its own fields, `names` are what can be matched.
    """

    def __init__(self, fields: Mapping[str, frozenset[str]], names: frozenset[str]) -> None:
        self._fields = fields
        self._names = names
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def load(self, script: Iterable[Mapping[str, Any]]) -> None:
        """Replace the script; what the old one delays or holds goes on. Raises ValueError for an unknown word.

        A rule: `match` (what is looked at, by name, as regular expressions), one of `nth` (number, list, "every") or
        `probability` with `seed`, `times` (at most so often), `per` (count apart for each value of that name),
        `action` and its own fields.
        """
        rules = [dict(rule) for rule in script]
        for rule in rules:
            self._check(rule)
        with self._lock:
            self._over.set()
            self._over = over = threading.Event()
            self._rules = [
                {
                    **rule,
                    "_seen": Counter(),
                    "_done": 0,
                    "_over": over,
                    "_dice": random.Random(rule.get("seed", 0)),  # noqa: S311 - repeatable
                }
                for rule in rules
            ]

    def end(self) -> None:
        """No more faults, and nothing is held any longer."""
        self.load(())

    def _check(self, rule: Mapping[str, Any]) -> None:
        action = str(rule.get("action"))
        if action not in self._fields:
            raise ValueError(f"There is no fault {action!r}; there are {', '.join(sorted(self._fields))}.")
        if unknown := set(rule) - _CONDITIONS - self._fields[action]:
            raise ValueError(f"The fault {action} takes no {', '.join(sorted(unknown))}.")
        if unknown := {*rule.get("match", {}), *filter(None, [rule.get("per")])} - self._names:
            raise ValueError(
                f"There is no {', '.join(sorted(unknown))} to match; there is {', '.join(sorted(self._names))}."
            )
        for name in _NUMBERS & set(rule):
            if isinstance(rule[name], bool) or not isinstance(rule[name], int | float):
                raise ValueError(  # noqa: TRY004 - a mistake of the script, like the others
                    f"The {name} of the fault {action} is a number, not {rule[name]!r}."
                )
        if rule.get("where", "body") not in _WHERE:
            raise ValueError(f"The where of the fault {action} is one of {', '.join(_WHERE)}, not {rule['where']!r}.")
        patterns = {**rule.get("match", {}), **{name: rule[name] for name in _PATTERNS & set(rule)}}
        for name, pattern in patterns.items():
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(f"The {name} of the fault {action} is no regular expression: {error}.") from error

    def pick(self, values: Mapping[str, str], actions: Container[str] | None = None) -> dict[str, Any] | None:
        """The first due rule for what `values` describe, perhaps among some actions only; None when there is none."""
        with self._lock:
            for rule in self._rules:
                if actions is not None and rule["action"] not in actions:
                    continue
                if not all(re.search(pattern, values.get(key, "")) for key, pattern in rule.get("match", {}).items()):
                    continue
                count = rule["_seen"]
                count[key := values.get(rule.get("per", ""), "")] += 1
                if rule["_done"] < rule.get("times", 10**9) and _due(rule, count[key]):
                    rule["_done"] += 1
                    return rule
        return None


def describe(request: Request) -> dict[str, str]:
    """The values that rules are matched against."""
    return {"method": request.method, "path": request.path, "query": request.query_string.decode()}


def _due(rule: Mapping[str, Any], seen: int) -> bool:
    if "probability" in rule:
        return bool(rule["_dice"].random() < rule["probability"])
    nth = rule.get("nth", "every")
    return nth == "every" or seen in (nth if isinstance(nth, list) else [nth])


def before(rule: Mapping[str, Any], request: Request) -> Response | None:
    """What happens instead of the request; None lets it go on. Raises Cut."""
    action = rule["action"]
    if action == "delay":
        rule["_over"].wait(float(rule.get("seconds", 1)))
        return None
    if action in AFTER | STORING:
        return None
    if action == "cut-before-body":
        raise Cut
    if action == "rst":
        raise Cut(reset=True)
    if action == "cut-at-byte":
        left = int(rule.get("bytes", 0))
        while left > 0 and (piece := request.stream.read(min(left, 65536))):
            left -= len(piece)
        raise Cut(reset=bool(rule.get("reset")))
    if action == "hold":
        rule["_over"].wait(float(rule.get("seconds", 60)))
        raise Cut
    return fault_responses.answer(rule, request)


def cut(sock: socket.socket, *, reset: bool) -> None:
    """End a connection without an answer."""
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(sock.detach())  # close() would wait for the server's own files on the socket
        return
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
