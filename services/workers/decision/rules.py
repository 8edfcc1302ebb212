"""Conditions in the rule-engine language, evaluated so that what is missing makes a comparison false. Pure.

The library raises when `null` meets `>`; a document without a total must not break the rule that asks for it. So
`and`, `or` and `not` are walked here, and each comparison below them that touches a missing value is false, unless it
asks for `null` itself or gives a default with `??`.
"""

import decimal
import re
from collections.abc import Iterator, Mapping
from typing import Any

import rule_engine
from rule_engine import ast, errors

from hocket.core.work import BadInput

_STRING = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """, re.VERBOSE | re.DOTALL)
_OF_MAPPINGS = ("length", "is_empty", "keys", "values")
"""Attributes that the language gives to every record."""
_CLOCK = ("$now", "$today")


class _Context(rule_engine.Context):  # type: ignore[misc]  # rule-engine ships no py.typed: the base is Any
    """Dots reach into records. rule-engine 5 still does so itself but warns, and 6 will not."""

    def __init__(self) -> None:
        super().__init__(default_value=None, default_timezone="utc", mapping_attribute_lookup=False)

    def resolve_attribute(self, thing: Any, object_: Any, name: str) -> Any:
        if isinstance(object_, Mapping) and (name in object_ or name not in _OF_MAPPINGS):
            return object_.get(name)
        return super().resolve_attribute(thing, object_, name)


class Condition:
    """One parsed `when`."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        if any(word in text for word in _CLOCK):
            raise BadInput(f"The rule {name!r} reads the clock ({text}): the same request must decide the same twice.")
        try:
            self._rule = rule_engine.Rule(_escaped(text), context=_Context())
        except errors.EngineError as error:
            raise BadInput(f"The rule {name!r} cannot be read: {error.message} in {text!r}.") from error
        self._root = self._rule.statement.expression

    @property
    def paths(self) -> list[str]:
        """What the condition reads, as dotted paths such as `extract.total`."""
        return list(dict.fromkeys(_paths(self._root)))

    def missing(self, facts: Mapping[str, Any]) -> list[str]:
        """Which of its paths have no value."""
        return [path for path in self.paths if value_at(facts, path) is None]

    def holds(self, facts: Mapping[str, Any]) -> bool:
        with decimal.localcontext(self._rule.context.decimal_context):
            return self._truth(self._root, facts)

    def _truth(self, node: Any, facts: Mapping[str, Any]) -> bool:
        if isinstance(node, ast.LogicExpression):
            left = self._truth(node.left, facts)
            return (
                (left and self._truth(node.right, facts))
                if node.type == "and"
                else (left or self._truth(node.right, facts))
            )
        if isinstance(node, ast.UnaryExpression) and node.type == "not":
            return not self._truth(node.right, facts)
        lacks = any(value_at(facts, path) is None for path in _paths(node))
        if lacks and not _discharged(node):
            return False
        try:
            return bool(node.evaluate(facts))
        except errors.LookupError:
            return False  # an item that a list does not have is missing, too
        except (errors.EngineError, TypeError, ArithmeticError) as error:
            if lacks:
                return False
            message = getattr(error, "message", str(error))
            raise BadInput(f"The rule {self._name!r} does not fit the values it compares: {message}.") from error


def _escaped(text: str) -> str:
    """The rule with its strings as the library's parser needs them.

    It decodes them with `unicode-escape`, which turns `\\b` into a backspace and breaks every umlaut. In Hocket's
    rules a backslash stands for itself, as in a regular expression, except before a quotation mark.
    """
    return _STRING.sub(lambda match: _escaped_string(match.group()), text)


def _escaped_string(literal: str) -> str:
    doubled = re.sub(r"\\(?![\"'])", r"\\\\", literal)
    return "".join(one if one.isascii() else f"\\U{ord(one):08x}" for one in doubled)


def value_at(facts: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; null where the way is broken. `.length` and its like leave a value as it is."""
    return reached(facts, path)[1]


def reached(facts: Mapping[str, Any], path: str) -> tuple[str, Any]:
    """How far a dotted path leads into the records, and the value there."""
    value: Any = facts
    way: list[str] = []
    for part in path.split("."):
        if isinstance(value, Mapping) and not (part in _OF_MAPPINGS and part not in value):
            value = value.get(part)
            way.append(part)
        elif value is None:
            way.append(part)
    return ".".join(way), value


def _discharged(node: Any) -> bool:
    return any(isinstance(child, ast.NullExpression | ast.CoalesceExpression) for child in _walk(node))


def _paths(node: Any, bound: frozenset[str] = frozenset()) -> Iterator[str]:
    if isinstance(node, ast.ComprehensionExpression):
        bound |= {node.variable}
    path = _path(node)
    if path is not None:
        if path.partition(".")[0] not in bound:
            yield path
        return
    for child in _children(node):
        yield from _paths(child, bound)


def _path(node: Any) -> str | None:
    if isinstance(node, ast.SymbolExpression):
        return None if node.scope else str(node.name)
    if isinstance(node, ast.GetAttributeExpression):
        inner = _path(node.object)
        return inner and f"{inner}.{node.name}"
    return None


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _children(node: Any) -> Iterator[Any]:
    """The child nodes, whatever the node calls them, in a fixed order."""
    slots = [slot for kind in type(node).__mro__ for slot in getattr(kind, "__slots__", ())]
    for name in dict.fromkeys([*getattr(node, "__dict__", {}), *slots]):
        value = None if name == "context" else getattr(node, name, None)
        for item in value if isinstance(value, list | tuple) else (value,):
            for one in item if isinstance(item, tuple) else (item,):
                if isinstance(one, ast.ExpressionBase):
                    yield one
