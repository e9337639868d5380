"""Parses the YAML of a configuration file: content, positions of keys, and errors without quoting the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xnatctl.errors import ConfigError

if TYPE_CHECKING:
    import yaml

#: Key path -> position in the file, such as "line 3, column 5".
Places = dict[tuple[str, ...], str]

#: Beginning of PyYAML's message -> our message. PyYAML quotes the file, which may hold a password.
_EXPECTED = (
    ("found character '\\t'", "a tab is not allowed here; indent with spaces"),
    ("found character", "a value cannot begin with this character; put it in quotes"),
    (
        "mapping values are not allowed",
        "a colon is not allowed here; quote the value, or check the indentation and the line above",
    ),
    ("could not find expected ':'", "expected a colon after the name of a setting"),
    ("expected <block end>", "expected the indentation of the settings above"),
    ("expected ',' or ']'", "expected a comma or ] in a list"),
    ("expected ',' or '}'", "expected a comma or } in a mapping"),
    ("expected the node content", "expected a value; put it in quotes"),
    ("expected alphabetic or numeric", "expected a name after & or *; put the value in quotes"),
    ("found undefined alias", "a value that begins with * must be in quotes"),
    ("found duplicate anchor", "a value that begins with & must be in quotes"),
    ("could not determine a constructor", "a value that begins with ! must be in quotes"),
    ("found undefined tag", "a value that begins with ! must be in quotes"),
    ("expected URI", "a value that begins with ! must be in quotes"),
    ("found unknown escape", "a backslash begins an escape in double quotes; use single quotes"),
    ("expected escape sequence", "a backslash begins an escape in double quotes; use single quotes"),
    ("found unexpected end of stream", "expected the closing quote"),
    ("found unexpected document separator", "expected the closing quote"),
    ("but found another document", "expected one document; a second one begins here"),
    ("found unhashable key", "expected the name of a setting, not a list or mapping"),
    ("found unacceptable key", "expected the name of a setting, not a list or mapping"),
    ("expected chomping", "a value that begins with | or > must be in quotes"),
    ("expected a comment or a line break", "a value that begins with |, > or % must be in quotes"),
    ("special characters are not allowed", "a control character is not allowed here"),
)


def parse(content: str, where: str) -> tuple[Any, Places]:
    """The document, None if empty, and the positions of its keys. Raises ConfigError with line and column."""
    import yaml

    places: Places = {}
    try:
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        if node is not None:
            _check(node, loader, where)
            _note(node, (), places, where, set())
        return (None if node is None else loader.construct_document(node)), places
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{where}, {_at_index(content, error.position)}: {_expected(error.reason)}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}{_places(error)}: {_expected(str(getattr(error, 'problem', '')))}.") from None
    except RecursionError:
        raise ConfigError(f"{where}: lists or mappings are nested too deeply.") from None


def place(mark: yaml.Mark) -> str:
    """Line and column, counted from 1."""
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _at_index(content: str, index: int) -> str:
    before = content[:index]
    return f"line {before.count(chr(10)) + 1}, column {index - before.rfind(chr(10))}"


def _expected(problem: str) -> str:
    return next((plain for begin, plain in _EXPECTED if problem.startswith(begin)), "expected valid YAML")


def _places(error: yaml.YAMLError) -> str:
    """Where something is wrong, and where that begins: a quote or bracket that is never closed ends with the file."""
    begin, end = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    if end is None:
        return ""
    beginning = f" (begun in {place(begin)})" if begin is not None and begin.line != end.line else ""
    return f", {place(end)}{beginning}"


def _check(node: yaml.Node, loader: yaml.SafeLoader, where: str) -> None:
    """Raise ConfigError for a value that looks like a date or number and is none, which YAML finds without a place."""
    for scalar in _scalars(node, set()):
        try:
            loader.construct_object(scalar)
        except (ValueError, OverflowError):
            raise ConfigError(f"{where}, {place(scalar.start_mark)}: expected text; put it in quotes.") from None


def _scalars(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        yield node
    elif id(node) not in seen:  # an alias is the node itself, and may stand inside itself
        seen.add(id(node))
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                yield from _scalars(part, seen)


def _note(node: yaml.Node, path: tuple[str, ...], places: Places, where: str, seen: set[int]) -> None:
    """Remember where each key stands. Raises ConfigError for one that stands twice, which YAML lets pass."""
    import yaml

    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        here = (*path, str(key.value) if isinstance(key, yaml.ScalarNode) else f"? {place(key.start_mark)}")
        if here in places and here[-1] != "<<":
            raise ConfigError(
                f"{where}, {place(key.start_mark)}: {shown(*here)} is repeated here; it is also in {places[here]}."
            )
        places[here] = place(key.start_mark)
        _note(value, here, places, where, seen)


def shown(*path: object) -> str:
    """The name of a setting; what does not look like a name may be a secret in a wrong place."""
    return ".".join(str(key) if is_name(key) else "(not shown)" for key in path)


def is_name(key: object) -> bool:
    """Whether a key looks like the name of a setting or profile."""
    return len(text := str(key)) <= 64 and all(letter.isalnum() or letter in "_-." for letter in text) and text != ""
