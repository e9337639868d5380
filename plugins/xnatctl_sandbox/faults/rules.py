"""Scripts of faults: which request or association, which time, which action."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any

_WHERE = ("body", "headers", "both")
_NUMBERS = frozenset({"bytes", "count", "probability", "seconds", "status", "times"})
_PATTERNS = frozenset({"members", "sop_classes", "transfer_syntaxes"})
_CONDITIONS = frozenset({"match", "nth", "per", "probability", "seed", "times", "action"})


class Faults:
    """A script of faults; each rule counts its own matches.

    `fields` maps each action to the fields of its rules; `names` are the values that a rule can match.
    """

    def __init__(self, fields: Mapping[str, frozenset[str]], names: frozenset[str]) -> None:
        self._fields = fields
        self._names = names
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def load(self, script: Iterable[Mapping[str, Any]]) -> None:
        """Replace the script, and release what the old one delays or holds. Raises ValueError for an unknown word.

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
        """Remove all rules, and release what they hold."""
        self.load(())

    def _check(self, rule: Mapping[str, Any]) -> None:
        action = str(rule.get("action"))
        if action not in self._fields:
            raise ValueError(f"Unknown fault {action!r}. Known faults: {', '.join(sorted(self._fields))}.")
        if unknown := set(rule) - _CONDITIONS - self._fields[action]:
            raise ValueError(f"The fault {action} has no field {', '.join(sorted(unknown))}.")
        if unknown := {*rule.get("match", {}), *filter(None, [rule.get("per")])} - self._names:
            raise ValueError(
                f"A rule cannot match {', '.join(sorted(unknown))}, only {', '.join(sorted(self._names))}."
            )
        for name in _NUMBERS & set(rule):
            if isinstance(rule[name], bool) or not isinstance(rule[name], int | float):
                raise ValueError(  # noqa: TRY004 - a mistake of the script, like the others
                    f"The field {name} of the fault {action} must be a number, not {rule[name]!r}."
                )
        if rule.get("where", "body") not in _WHERE:
            raise ValueError(f"The field where of the fault {action} must be one of {', '.join(_WHERE)}.")
        patterns = {**rule.get("match", {}), **{name: rule[name] for name in _PATTERNS & set(rule)}}
        for name, pattern in patterns.items():
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(
                    f"The field {name} of the fault {action} is not a regular expression: {error}."
                ) from error

    def pick(self, values: Mapping[str, str], actions: Container[str] | None = None) -> dict[str, Any] | None:
        """The first due rule that matches `values`; with `actions` given, only rules of these."""
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


def _due(rule: Mapping[str, Any], seen: int) -> bool:
    if "probability" in rule:
        return bool(rule["_dice"].random() < rule["probability"])
    nth = rule.get("nth", "every")
    return nth == "every" or seen in (nth if isinstance(nth, list) else [nth])
