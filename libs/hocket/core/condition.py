"""Conditions on earlier outputs: what they may look like, what they read, and whether one holds. Pure.

A condition is a JSON object: `{"task": "decide", "field": "decision", "equals": "approve"}`, with exactly one operator,
or `{"all": [...]}` or `{"any": [...]}` of such objects. `field` is a dotted path into the task's output record; a
number in it picks an item of a list.

What is missing (no output of that task, no such field, null) makes every comparison false, the negative ones too:
`not_equals` asks for a value that is another one. Only `{"exists": false}` holds of what is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_DEPTH = 4
"""Levels of `all` and `any` inside one another."""
MAX_CLAUSES = 32
"""Comparisons in one condition."""
MAX_CHARS = 4_000
"""Length of a condition as JSON."""

_Numbers = Callable[[float, float], bool]
_ORDERS: dict[str, _Numbers] = {
    "above": lambda a, b: a > b,
    "below": lambda a, b: a < b,
    "at_least": lambda a, b: a >= b,
    "at_most": lambda a, b: a <= b,
}
OPERATORS = ("equals", "not_equals", "in", "not_in", "contains", "exists", *_ORDERS)
_GROUPS = ("all", "any")


def holds(condition: str | None, outputs: Mapping[str, Mapping[str, Any] | None]) -> bool:
    """Whether a task with this condition runs, given the outputs of earlier tasks by task id (None: it has none).

    No condition always holds; one that cannot be read never does (`faults` tells why). Never raises.
    """
    if condition is None:
        return True
    parsed = _parsed(condition)
    return not _shape_faults(parsed) and _true(parsed, outputs)


def faults(condition: str | None) -> list[str]:
    """What is wrong with a condition, each with its place in it; empty when it can be evaluated."""
    if condition is None:
        return []
    if len(condition) > MAX_CHARS:
        return [f"the condition has {len(condition)} characters, the limit is {MAX_CHARS}"]
    parsed = _parsed(condition)
    return _shape_faults(parsed) if parsed is not None else ["the condition is not a JSON object"]


def tasks_read(condition: str | None) -> tuple[str, ...]:
    """The ids of the tasks whose outputs a condition reads, in order of mention; none for an unreadable one."""
    parsed = _parsed(condition) if condition is not None else None
    if parsed is None or _shape_faults(parsed):
        return ()
    return tuple(dict.fromkeys(str(clause["task"]) for clause in _clauses(parsed)))


def renamed(condition: str | None, names: Mapping[str, str]) -> str | None:
    """The condition with the tasks it reads under their new ids."""
    parsed = _parsed(condition) if condition is not None else None
    if parsed is None or _shape_faults(parsed):
        return condition
    return json.dumps(_renamed(parsed, names), sort_keys=True)


def _renamed(node: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    for group in _GROUPS:
        if group in node:
            return {group: [_renamed(item, names) for item in node[group]]}
    return {**node, "task": names.get(node["task"], node["task"])}


def _parsed(condition: str) -> dict[str, Any] | None:
    if len(condition) > MAX_CHARS:
        return None
    try:
        found = json.loads(condition)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _shape_faults(node: object) -> list[str]:
    found = list(_faults_at(node, "when", 1))
    if not found and sum(1 for _ in _clauses(node)) > MAX_CLAUSES:
        found.append(f"when: more than {MAX_CLAUSES} comparisons")
    return found


def _faults_at(node: object, at: str, depth: int) -> Iterator[str]:
    if not isinstance(node, Mapping):
        yield f"{at}: must be a mapping such as {{task: decide, field: decision, equals: approve}}"
        return
    groups = [g for g in _GROUPS if g in node]
    if not groups:
        yield from _clause_faults(node, at)
    elif len(node) > 1:
        yield f"{at}: `{groups[0]}` stands alone; put the other conditions into its list"
    elif depth >= MAX_DEPTH:
        yield f"{at}: nested deeper than {MAX_DEPTH} levels"
    elif not isinstance(items := node[groups[0]], list) or not items:
        yield f"{at}.{groups[0]}: must be a list of conditions, with one at least"
    else:
        for n, item in enumerate(items):
            yield from _faults_at(item, f"{at}.{groups[0]}.{n}", depth + 1)


def _clause_faults(node: Mapping[str, Any], at: str) -> Iterator[str]:
    for name in ("task", "field"):
        if not isinstance(node.get(name), str) or not node[name]:
            yield f"{at}: `{name}` is missing; a condition names the task and the field of its output that it reads"
    known = [k for k in node if k in OPERATORS]
    odd = [str(k) for k in node if k not in (*OPERATORS, "task", "field")]
    if odd:
        yield f"{at}: unknown operator {', '.join(odd)[:80]}; there are {', '.join((*OPERATORS, *_GROUPS))}"
    elif len(known) != 1:
        yield f"{at}: one operator is needed, there are {len(known)}; choose from {', '.join(OPERATORS)}"
    for operator in known:
        wrong = _operand_fault(operator, node[operator])
        if wrong:
            yield f"{at}.{operator}: {wrong}"


def _operand_fault(operator: str, operand: object) -> str | None:
    if operator == "exists":
        return None if isinstance(operand, bool) else "must be true or false"
    if operator in _ORDERS:
        return None if _number(operand) is not None else "must be a number"
    if operator in ("in", "not_in"):
        fine = isinstance(operand, list) and operand and all(_scalar(item) for item in operand)
        return None if fine else "must be a list of values, with one at least"
    return (
        None if _scalar(operand) else "must be a text, a number, true or false; ask for a missing value with `exists`"
    )


def _clauses(node: Any) -> Iterator[Mapping[str, Any]]:
    for group in _GROUPS:
        if group in node:
            for item in node[group]:
                yield from _clauses(item)
            return
    yield node


def _true(node: Any, outputs: Mapping[str, Mapping[str, Any] | None]) -> bool:
    if "all" in node:
        return all(_true(item, outputs) for item in node["all"])
    if "any" in node:
        return any(_true(item, outputs) for item in node["any"])
    value = _value_at(outputs.get(node["task"]), node["field"])
    operator = next(k for k in OPERATORS if k in node)
    operand = node[operator]
    if operator == "exists":
        return (value is not None) is operand
    return value is not None and _compares(operator, value, operand)


def _compares(operator: str, value: Any, operand: Any) -> bool:
    if operator in _ORDERS:
        left, right = _number(value), _number(operand)
        return left is not None and right is not None and _ORDERS[operator](left, right)
    if operator == "contains":
        if isinstance(value, str):
            return isinstance(operand, str) and operand in value
        return isinstance(value, list) and any(_same(item, operand) for item in value)
    wanted = operand if operator in ("in", "not_in") else [operand]
    return any(_same(value, item) for item in wanted) is (operator in ("equals", "in"))


def _value_at(output: Any, path: str) -> Any:
    value = output
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and len(part) < 6:
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def _same(a: object, b: object) -> bool:
    """Equality as JSON has it: 1 and 1.0 are one number, but true is not 1."""
    return isinstance(a, bool) is isinstance(b, bool) and a == b


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _scalar(value: object) -> bool:
    return isinstance(value, str | bool) or _number(value) is not None
